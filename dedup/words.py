"""What is written in one way in whatever room: numbers and paths for people, tables, whole files."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
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


def table_text(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    """A table as CSV, with Unix line ends."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows((header, *rows))
    return text.getvalue()


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Write a table as CSV, in UTF-8; whole or not at all."""
    write_whole(path, table_text(header, rows).encode())


def write_whole(path: Path, data: bytes, sync: bool = False) -> None:
    """Write a file so that it is there whole or not at all, also when several processes write it.

    sync : whether it must be on the disk before this returns, as what a later step relies on
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(unfinished, "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        with suppress(FileNotFoundError):
            unfinished.unlink()
