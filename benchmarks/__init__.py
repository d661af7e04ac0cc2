"""Measurements: how well duplicates are found, beside other tools, and what each part of the project is worth."""
