"""What a run writes for people: numbers, tables and whole files, and how far it is.

`with phase("Reading"):` opens a phase of `Phases`: one line on stderr and a table of where the time went. What is done
in it is counted by the bars that `progress_bar` gives.
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
OFTEN = 0.1  # seconds between two looks of the line
EARLY = 2.0  # seconds before which nothing is said of the time that is left
TRUSTED = 0.05  # share of a phase from which its own pace tells how long it takes
OTHER = "start, everything else"
PROGRESS_LINE = "{desc:<11} {percentage:3.0f}%|{bar}| {unit}"
# The phases in which duplicates are found, and then written down, and the share of each in the time of a usual run.
FINDING = {"Reading": 0.25, "Neighbours": 0.01, "Confirming": 0.45, "Clustering": 0.01, "Checking": 0.24}
RUN = FINDING | {"Writing": 0.04}


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


def escape(text: str) -> str:
    r"""A name as valid, one-line UTF-8 that no spreadsheet takes for a formula.

    These bytes are written `\xNN`, everything else as it is: bytes that are not UTF-8, control characters, a first
    character out of `= + - @` (and their full-width forms), and a backslash that would read as such an escape.
    """
    raw = os.fsencode(text)
    raw = re.sub(rb"\\(?=x[0-9a-f]{2})", rb"\\x5c", raw)
    text = raw.decode("utf-8", "backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]|^[=+\-@＝＋－＠]", lambda hit: _hex(hit[0]), text)


def name_in(path: Path, images_dir: Path) -> str:
    """A path below images_dir as tables have it."""
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


class Phases(AbstractContextManager):
    """The phases of one run, in their order.

    Parameters
    ----------
    shares : by name, what part of a usual run each takes; tells how long those to come will take
    is_shown : whether the line is drawn, where stderr is a terminal

    Attributes
    ----------
    spent : by name, seconds by the clock and of computing, with those of processes that have ended
    """

    def __init__(self, shares: Mapping[str, float] = RUN, is_shown: bool = True):
        self.spent: dict[str, tuple[float, float]] = {}
        self._shares, self._began, self._drawn = dict(shares), _now(), 0.0
        self._name, self._since, self._done, self._total = "", self._began, 0, 0
        self._count("")
        width = min(LINE_COLUMNS, shutil.get_terminal_size().columns)
        options = {"bar_format": PROGRESS_LINE, "ncols": width, "leave": False, "disable": None if is_shown else True}
        self._line = tqdm(total=1.0, desc="Starting", unit="", **options)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """A phase of this name, which is one of `shares`."""
        if name not in self._shares:
            raise ValueError(f"no phase {name!r}, the phases are {', '.join(self._shares)}")
        self._name, self._since, self._done, self._total = name, _now(), 0, 0
        self._count("")
        self._draw()
        try:
            yield
        finally:
            before, passed = self.spent.get(name, (0.0, 0.0)), _passed(self._since)
            self.spent[name] = before[0] + passed[0], before[1] + passed[1]
            self._name = ""

    def bar(self, total: int, unit: str) -> _Bar:
        """Say that there are more things to do in this phase; the bar counts them."""
        self._total += total
        self._count(unit)
        return _Bar(self)

    def update(self, count: int = 1) -> None:
        self._done += count
        if time.monotonic() > self._drawn + OFTEN:
            self._draw()

    def seconds_left(self) -> float | None:
        """Over the whole run, by this phase's own pace and by the usual shares of the others; None = not known yet."""
        passed = _passed(self._since)[0]
        known = sum(seconds for seconds, _ in self.spent.values())
        shares = sum(self._shares[name] for name in self.spent)
        done = min(self._done / self._total, 1.0) if self._total else 0.0
        if done >= TRUSTED:
            left = passed * (1 - done) / done
        elif shares and self._name:
            left = max(known / shares * self._shares[self._name] - passed, 0.0)
        else:
            return None
        known, shares = known + passed + left, shares + self._shares[self._name]
        names = list(self._shares)
        coming = sum(self._shares[name] for name in names[names.index(self._name) + 1 :])
        return left + known / shares * coming

    def table(self) -> list[str]:
        """Lines of a Markdown table: seconds by phase, by the clock and of computing."""
        clock, computing = _passed(self._began)
        clocks, computings = ([each[k] for each in self.spent.values()] for k in (0, 1))
        rows = self.spent | {OTHER: (clock - sum(clocks), computing - sum(computings)), "in all": (clock, computing)}
        lines = ["| phase | by the clock | computing |", "|---|---:|---:|"]
        return lines + [f"| {name} | {clock:.1f} s | {computing:.1f} s |" for name, (clock, computing) in rows.items()]

    def close(self) -> None:
        """Take the line away."""
        self._line.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _count(self, unit: str) -> None:
        """Begin to count things of a kind, for their pace."""
        self._unit, self._counted, self._counting = unit, self._done, _now()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        if self._line.disable:
            return
        gone, left = _passed(self._began)[0], self.seconds_left()
        self._line.n = 0.0 if left is None else gone / max(gone + left, 1e-9)
        count, seconds = self._done - self._counted, _passed(self._counting)[0]
        rate = f"{count / max(seconds, 1e-9):,.0f} {self._unit}/s" if count else ""
        rest = f"{_for_people(left)} left" if gone > EARLY and left else ""
        self._line.desc, self._line.unit = self._name, ", ".join(filter(None, (rate, rest)))
        self._line.refresh()


class _Bar(AbstractContextManager):
    """What `progress_bar` gives for a phase: `update` as of tqdm."""

    def __init__(self, phases: Phases):
        self.update = phases.update

    def __exit__(self, *_: object) -> None:
        """Nothing is left open."""


def progress_bar(progress: bool | Phases, total: int, description: str, unit: str) -> tqdm | _Bar:
    """What counts `total` things by `update(count)`: in the phases of a run, else a bar of its own if that is wanted.

    Bars are drawn where stderr is a terminal.
    """
    if isinstance(progress, Phases):
        return progress.bar(total, unit)
    return tqdm(total=total, desc=description, unit=f" {unit}", disable=None if progress and total else True)


def _for_people(seconds: float) -> str:
    """45 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _now() -> tuple[float, float]:
    """Seconds by the clock and of computing, of this process and of those that have ended."""
    return time.monotonic(), sum(os.times()[:4])


def _passed(since: tuple[float, float]) -> tuple[float, float]:
    clock, computing = _now()
    return clock - since[0], computing - since[1]
