"""Where the time of a first run goes: `python -m benchmarks.phases FOLDER`.

A folder of pictures  ->  a table: seconds by the clock and of computing, of this process and of those it started
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable

import main as program

CONFIRMING = "choosing pairs to confirm"  # the function that this is left of does all of confirmation
PHASES = {  # what a phase is called, by the function it is spent in, where that is looked up
    "dedup.pipeline:embed": "reading and encoding",
    "dedup.pipeline:candidate_graph": "neighbours",
    "dedup.matching.confirmation:Verifier.verify": CONFIRMING,
    "dedup.matching.confirmation:Verifier._read": "reading candidates, keypoints",
    "dedup.matching.confirmation:Verifier.match_many": "laying pairs on each other",
    "dedup.clustering.clusters:_choose_keepers": "choosing keepers",
    "dedup.clustering.pairs:Pairs.look_closer": "the last look before a file may go",
    "dedup.report.tables:write_report": "drawing pages",
    "dedup.report.page:write_thumbnails": "thumbnails",
}
REST = "start, tables, everything else"


class Clock:
    """Time by phase; what is spent in a phase within another counts for the inner one alone."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])  # by the clock, of computing
        self.within: defaultdict[str, float] = defaultdict(float)  # by the clock, inner phases and all
        self._phases, self._last = [REST], now()

    def turn(self) -> None:
        """Count what has passed since the last turn."""
        spent, end = self.spent[self._phases[-1]], now()
        spent[:] = [before + to - since for before, to, since in zip(spent, end, self._last, strict=True)]
        self._last = end

    def watch(self, function: Callable, phase: str) -> Callable:
        """The function, whose time counts for a phase."""

        @functools.wraps(function)
        def watched(*arguments, **options):
            self.turn()
            self._phases.append(phase)
            start = self._last[0]
            try:
                return function(*arguments, **options)
            finally:
                self.turn()
                self._phases.pop()
                self.within[phase] += self._last[0] - start

        return watched


def now() -> list[float]:
    """Seconds by the clock and of computing, with processes that have ended."""
    return [time.monotonic(), sum(os.times()[:4])]


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    clock = Clock()
    for place, phase in PHASES.items():
        module, _, names = place.partition(":")
        *owners, name = names.split(".")
        owner = functools.reduce(getattr, owners, importlib.import_module(module))
        setattr(owner, name, clock.watch(getattr(owner, name), phase))
    with tempfile.TemporaryDirectory() as output:
        status = program.main([sys.argv[1], "--output", output, "--quiet"])
    clock.turn()
    print(*table(clock.spent), sep="\n")
    confirming, whole = clock.within[CONFIRMING], sum(seconds for seconds, _ in clock.spent.values())
    times = whole / (whole - confirming)
    print(f"confirming candidates takes {confirming:.1f} s, and makes the run {times:.2f} times as long")
    return status


def table(spent: dict[str, list[float]]) -> list[str]:
    """Lines of a Markdown table, what takes most of the clock first."""
    lines = ["| phase | by the clock | computing |", "|---|---:|---:|"]
    rows = sorted(spent.items(), key=lambda row: -row[1][0])
    rows.append(("in all", [sum(column) for column in zip(*spent.values(), strict=True)]))
    return lines + [f"| {phase} | {clock:.1f} s | {computing:.1f} s |" for phase, (clock, computing) in rows]


if __name__ == "__main__":
    sys.exit(main())
