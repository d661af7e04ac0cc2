"""What a run writes for people: numbers, tables and whole files, and how far it is.

`with phase("Reading"):` opens a phase of `Phases`: one line on stderr and a table of where the time went. The bars of
`progress_bar` count what is done in it.
"""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path, PurePath

from tqdm import tqdm

LINE_COLUMNS = 80  # of the line
OTHER = "start, everything else"
PROGRESS_LINE = "{desc:<11} {percentage:3.0f}%|{bar}| {remaining} left{postfix}"
# The phases in which duplicates are found, and then written down, and the share of each in the time of a usual run.
FINDING = {"Reading": 0.25, "Neighbours": 0.01, "Confirming": 0.45, "Clustering": 0.01, "Checking": 0.24}
RUN = FINDING | {"Writing": 0.04}


def format_bytes(count: int) -> str:
    """Bytes for people: 999 B, 1.5 kB, 12 MB (powers of 1000, as file managers show them)."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB", "PB", "EB"):
        if value < (1000 if unit == "B" else 999.5):
            break
        value /= 1000
    return f"{value:.1f} {unit}" if value < 9.95 and unit != "B" else f"{value:.0f} {unit}"


def count_of(number: int, noun: str) -> str:
    """1 file, 2 files, 12,000 files."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def relative_path(path: Path, images_dir: Path) -> PurePath:
    """The path below images_dir; a path that is not below it stays whole."""
    return path.relative_to(images_dir) if path.is_relative_to(images_dir) else path


def escape(text: str) -> str:
    r"""A name as valid, one-line UTF-8 that no spreadsheet takes for a formula.

    Written as `\xNN`: bytes that are not UTF-8, control characters, a first character out of `= + - @` (and their
    full-width forms), and a backslash that would read as such an escape. Everything else stays as it is.
    """
    raw = os.fsencode(text)
    raw = re.sub(rb"\\(?=x[0-9a-f]{2})", rb"\\x5c", raw)
    text = raw.decode("utf-8", "backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]|^[=+\-@＝＋－＠]", lambda hit: _hex(hit[0]), text)


def name_in(path: Path, images_dir: Path) -> str:
    """A path below images_dir as tables show it."""
    return escape(relative_path(path, images_dir).as_posix())


def _hex(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def table_text(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    """A table as CSV, with Unix line ends."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows((header, *rows))
    return text.getvalue()


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Write a table as CSV, in UTF-8; whole or not at all."""
    write_whole(path, table_text(header, rows).encode())


def write_whole(path: Path, data: bytes, sync: bool = False) -> None:
    """Write a file whole or not at all, also when several processes write it.

    sync : whether it must be on the disk before this returns, if a later step relies on it
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


class Phases(AbstractContextManager):
    """The phases of one run, in their order.

    shares : by name, the share of a usual run that each takes; shows how far the run is
    is_shown : whether the line is drawn, if stderr is a terminal
    spent : by name, seconds by the clock and of computing, with those of processes that have ended
    """

    def __init__(self, shares: Mapping[str, float] = RUN, is_shown: bool = True):
        self.spent: dict[str, tuple[float, float]] = {}
        self._shares, self._began, self._name = dict(shares), _now(), next(iter(shares))
        self._done = self._total = 0
        options = {"leave": False, "disable": None if is_shown else True, "miniters": 0, "smoothing": 0}
        width = min(LINE_COLUMNS, shutil.get_terminal_size().columns)
        self._line = tqdm(total=1.0, desc="Starting", bar_format=PROGRESS_LINE, ncols=width, **options)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """A phase of this name, which is one of `shares`."""
        if name not in self._shares:
            raise ValueError(f"no phase {name!r}, the phases are {', '.join(self._shares)}")
        since = _now()
        self._name, self._done, self._total = name, 0, 0
        self._line.set_postfix_str("", refresh=False)
        self._line.set_description_str(name)
        try:
            yield
        finally:
            before, passed = self.spent.get(name, (0.0, 0.0)), _passed(since)
            self.spent[name] = before[0] + passed[0], before[1] + passed[1]

    def bar(self, total: int, unit: str) -> _Bar:
        """Add `total` things to do in this phase; the bar counts them."""
        self._total += total
        return _Bar(self, unit)

    def update(self, count: int, pace: str) -> None:
        self._done += count
        before = sum(share for name, share in self._shares.items() if name in self.spent and name != self._name)
        gone = before + self._shares[self._name] * min(self._done / max(self._total, 1), 1.0)
        self._line.set_postfix_str(f"{self._done:,} of {self._total:,}, {pace}", refresh=False)
        self._line.update(gone - self._line.n)

    def table(self) -> list[str]:
        """Lines of a Markdown table: seconds by phase, by the clock and of computing."""
        clock, computing = _passed(self._began)
        clocks, computings = ([each[k] for each in self.spent.values()] for k in (0, 1))
        rows = self.spent | {OTHER: (clock - sum(clocks), computing - sum(computings)), "in all": (clock, computing)}
        lines = ["| phase | by the clock | computing |", "|---|---:|---:|"]
        return lines + [f"| {name} | {clock:.1f} s | {computing:.1f} s |" for name, (clock, computing) in rows.items()]

    def close(self) -> None:
        """Remove the line."""
        self._line.close()

    def __exit__(self, *_: object) -> None:
        self.close()


class _Bar(AbstractContextManager):
    """A bar of `progress_bar` in a phase, with tqdm's `update`."""

    def __init__(self, phases: Phases, unit: str):
        self._phases, self._unit, self._count, self._began = phases, unit, 0, _now()

    def update(self, count: int = 1) -> None:
        self._count += count
        rate = self._count / max(_passed(self._began)[0], 1e-3)
        self._phases.update(count, f"{rate:,.0f} {self._unit}/s")

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""


def progress_bar(progress: bool | Phases, total: int, description: str, unit: str) -> tqdm | _Bar:
    """A bar that counts `total` things by `update(count)`: in the phases of a run, else by itself if `progress` is set.

    Bars are drawn where stderr is a terminal.
    """
    if isinstance(progress, Phases):
        return progress.bar(total, unit)
    return tqdm(total=total, desc=description, unit=f" {unit}", disable=None if progress and total else True)


def _now() -> tuple[float, float]:
    """Seconds by the clock and of computing, of this process and of those that have ended."""
    return time.monotonic(), sum(os.times()[:4])


def _passed(since: tuple[float, float]) -> tuple[float, float]:
    clock, computing = _now()
    return clock - since[0], computing - since[1]
