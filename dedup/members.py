"""Members: two files and their match in, whether one may go for the other and why not out.

embeddings, Verifier  ->  Pairs  ->  Member, as compared with a keeper
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dedup.safeguards import why_it_stays

if TYPE_CHECKING:
    from dedup.embeddings import Embeddings
    from dedup.verification import Match, Verifier

CONFIRMED = ("identical", "same_pixels", "copy", "crop")  # and `near`, where nothing was confirmed by geometry
COVERED = 0.97  # share of a picture, and of its resolution, that stands for all of it
MARKED = 0.25  # share of a picture under its own captions, stickers and the like that is always too much to lose
COLOURED, FADED = 3.0, 0.25  # mean chroma (CIELAB) of a picture with colours, and the share of it that is none


@dataclass(frozen=True)
class Member:
    """A file of a cluster, as compared with the cluster's keeper.

    width, height : px, upright
    distance : cosine distance of the embeddings
    kind : of its match with the keeper: identical, same_pixels, copy, crop, contains or similar; `indirect` without a
        match of its own; `near` if it is within epsilon and nothing was confirmed; `keeper` for the keeper itself
    coverage : share of this picture that the keeper shows, 0 to 1; taken for granted where the kind is `near`
    reason : why it is not removable, empty if it is
    """

    path: Path
    width: int
    height: int
    bytes: int
    distance: float
    kind: str
    coverage: float
    removable: bool
    reason: str


class View(NamedTuple):
    """A match as a member sees its keeper.

    coverage : share of the member that the keeper shows; `shown` the other way round
    resolution : px of the keeper for each px of the member
    marks, hidden : share of the overlap that the member, that the keeper shows over the other's picture
    chroma, kept_chroma : mean chroma (CIELAB) of the member and of the keeper; near 0 is grey
    """

    kind: str
    coverage: float
    shown: float
    resolution: float
    marks: float
    hidden: float
    chroma: float = 0.0
    kept_chroma: float = 0.0


class Pairs:
    """Files and pairs of files by row number of the embeddings; each is looked at once."""

    def __init__(self, embeddings: Embeddings, verifier: Verifier | None, images_dir: Path, epsilon: float | None):
        self.paths, self.vectors, self.sizes = embeddings.paths, embeddings.vectors, embeddings.sizes
        self.verifier, self.images_dir, self.epsilon = verifier, images_dir, epsilon
        self._files: dict[int, tuple[int, int]] = {}
        self._members: dict[tuple[int, int], Member] = {}

    @cached_property
    def covered_by(self) -> Counter[int]:
        """How many others a row shows all of, among the pairs matched so far."""
        matches = self.verifier.matches.items() if self.verifier else ()
        firsts = (first for (first, second), match in matches if not what_is_missing(seen_by(match, is_first=False)))
        seconds = (second for (first, second), match in matches if not what_is_missing(seen_by(match, is_first=True)))
        return Counter((*firsts, *seconds))

    def match_all(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Match many pairs of rows at once, in parallel."""
        if self.verifier:
            wanted = sorted({(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]})
            self.verifier.match_many([(i, j, self.distance(i, j)) for i, j in wanted])

    def distance(self, i: int, j: int) -> float:
        """Cosine distance in [0, 2]."""
        product = float(self.vectors[i].astype(np.float64) @ self.vectors[j].astype(np.float64))
        return round(min(max(1 - product, 0.0), 2.0), 6)

    def mean_distances(self, rows: Sequence[int]) -> np.ndarray:
        """Mean cosine distance of each row to the others, (len(rows),) float."""
        vectors = self.vectors[list(rows)].astype(np.float64)
        return np.round(1 - (vectors @ vectors.sum(axis=0) - 1) / max(len(rows) - 1, 1), 6)

    def pixels(self, row: int) -> int:
        return int(self.sizes[row].prod())

    def by_quality(self, row: int) -> tuple[float, int, int]:
        """To sort by: the least compressed first, then the oldest, then by path."""
        size, modified = self.file(row)
        return -size / max(self.pixels(row), 1), modified, row

    def file(self, row: int) -> tuple[int, int]:
        """Bytes and time of the last change in ns; zeros once it is gone."""
        if row not in self._files:
            try:
                status = os.stat(self.paths[row])
                self._files[row] = status.st_size, status.st_mtime_ns
            except OSError:
                self._files[row] = 0, 0
        return self._files[row]

    def view(self, row: int, keeper: int) -> View | None:
        """The match of a row with its keeper, None if they have none; of pairs that were matched already."""
        if self.verifier:
            match = self.verifier.matches.get((min(row, keeper), max(row, keeper)))
            return match and seen_by(match, row < keeper)
        if self.distance(row, keeper) > self.epsilon + 1e-6:
            return None
        resolution = (self.pixels(keeper) / max(self.pixels(row), 1)) ** 0.5
        return View("near", 1.0, 1.0, resolution, 0.0, 0.0)

    def member(self, row: int, keeper: int) -> Member:
        """A row as a member of its keeper's cluster."""
        if (row, keeper) not in self._members:
            self._members[row, keeper] = self._compared(row, keeper)
        return self._members[row, keeper]

    def _compared(self, row: int, keeper: int) -> Member:
        width, height = map(int, self.sizes[row])
        seen = Member(self.paths[row], width, height, self.file(row)[0], 0.0, "keeper", 1.0, False, "")
        if row == keeper:
            return seen
        view = self.view(row, keeper) or View("indirect", 0.0, 0.0, 0.0, 0.0, 0.0)
        reason = what_is_missing(view) or why_it_stays(self.paths[row], self.paths[keeper], self.images_dir)
        found = {"distance": self.distance(row, keeper), "kind": view.kind, "coverage": view.coverage}
        return replace(seen, removable=not reason, reason=reason, **found)


def seen_by(match: Match, is_first: bool) -> View:
    """A match as its first, or its second file sees the other one."""
    first = match.first_coverage, match.first_resolution, match.first_extra, match.first_chroma
    second = match.second_coverage, match.second_resolution, match.second_extra, match.second_chroma
    own, other = (first, second) if is_first else (second, first)
    return View(match.kind, own[0], other[0], other[1], own[2], other[2], own[3], other[3])


def what_is_missing(view: View) -> str:
    """Say what a member shows that its keeper does not, for people; empty if there is nothing."""
    if view.kind == "contains":
        beside = view.coverage < view.shown
        return "shows the kept file beside other things" if beside else "the kept file shows it beside other things"
    if view.kind == "indirect":
        return "no match of its own to the kept file"
    if view.kind not in (*CONFIRMED, "near"):
        return "similar, not confirmed"
    if view.marks > MARKED or view.coverage < COVERED <= view.coverage + view.marks:
        return f"has marks of its own over {100 * view.marks:.0f} % of it"
    if view.coverage < COVERED:
        return f"{100 * (1 - view.coverage):.0f} % of it is not in the kept file"
    if view.resolution < COVERED:
        return f"has {_times(1 / max(view.resolution, 0.01))} the resolution of the kept file"
    if view.hidden > 1 - COVERED:
        return f"the kept file has marks over {100 * view.hidden:.0f} % of it"
    is_faded = view.chroma > COLOURED and view.kept_chroma < FADED * view.chroma
    return "has colours the kept file lacks" if is_faded else ""


def _times(ratio: float) -> str:
    return f"{ratio:.1f} x" if ratio >= 1.1 else f"{ratio:.2f} x"
