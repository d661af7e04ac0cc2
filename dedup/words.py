"""Numbers and paths as people read them, in whatever room they are written."""

from __future__ import annotations

from pathlib import Path, PurePath


def format_bytes(count: int) -> str:
    """Bytes for people: 999 B, 1.5 kB, 12 MB (powers of 1000, as file managers show them)."""
    if count < 1000:
        return f"{count} B"
    value, units = float(count), iter(("kB", "MB", "GB", "TB", "PB"))
    unit = ""
    while value >= 999.5 or not unit:
        value, unit = value / 1000, next(units, "EB")
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


def count_of(number: int, noun: str) -> str:
    """1 file, 2 files, 12,000 files."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def relative_path(path: Path, images_dir: Path) -> PurePath:
    """The path below images_dir; a path that is not below it stays whole."""
    return path.relative_to(images_dir) if path.is_relative_to(images_dir) else path
