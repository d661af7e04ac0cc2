"""Programs as whole processes: a command in, its time and the most memory it and its children took out."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BETWEEN = 0.2  # seconds between two looks at the memory


@dataclass(frozen=True)
class Ran:
    """One run.

    seconds : from start to end
    computing : seconds of all cores together, 0 on Windows
    peak : bytes, 0 where it was not watched
    output : what it printed
    """

    seconds: float
    computing: float
    peak: int
    output: str


class Failed(Exception):
    """A program that ended with an error; the message is the end of what it said."""


def run(command: Sequence[object], watch: bool = False, env: Mapping[str, str] | None = None) -> Ran:
    """Run a command to its end.

    Parameters
    ----------
    watch : look at its memory meanwhile (Linux), which takes a little time

    Raises
    ------
    Failed : it ended with an error, or there is no such program
    """
    began, computed, peaks = time.monotonic(), _computed(), [0]
    try:
        process = subprocess.Popen(
            [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", env=os.environ | dict(env or {}),
        )  # fmt: skip
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from error
    watcher = threading.Thread(target=_watch, args=(process, peaks), daemon=True)
    if watch and sys.platform == "linux":
        watcher.start()
    output, _ = process.communicate()
    seconds = time.monotonic() - began
    if process.returncode:
        raise Failed(" ".join(output.split())[-300:] or f"exit status {process.returncode}")
    return Ran(seconds, _computed() - computed, max(peaks), output)


def _computed() -> float:
    """Seconds that all processes have computed which were started here and have ended, with theirs."""
    times = os.times()
    return times.children_user + times.children_system


def _watch(process: subprocess.Popen, peaks: list[int]) -> None:
    while process.poll() is None:
        peaks.append(sum(_resident(pid) for pid in _family(process.pid)))
        time.sleep(BETWEEN)


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return []
    return [pid, *(below for child in children for below in _family(int(child)))]


def _resident(pid: int) -> int:
    """Bytes in memory of one process; what several share counts in parts, so that the sum is what all take."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
