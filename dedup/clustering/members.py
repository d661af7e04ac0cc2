"""Members: two files and their match in, whether one may go for the other and why not out.

Match  ->  View, as one of the two files sees the other  ->  Member, as compared with a keeper
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dedup.matching.classification import CONFIRMED

if TYPE_CHECKING:
    from dedup.matching.confirmation import Match

COVERED = 0.97  # share of a picture, and of its resolution, that stands for all of it
UNMARKED = 0.01  # share of a picture under marks that may be by chance
MARKED = 0.25  # share of a picture under its own captions, stickers and the like that is always too much to lose
LACKS_COLOURS = "has colours the kept file lacks"
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
    place : where this picture lies on the keeper: homography, row by row, from its unit coordinates to the keeper's;
        empty where that is not known
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
    place: tuple[float, ...] = ()


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


def way_back(transform: Sequence[float]) -> tuple[float, ...]:
    """The inverse of a homography, row by row."""
    inverse = np.linalg.inv(np.reshape(transform, (3, 3)))
    return tuple((inverse / inverse[2, 2]).ravel().tolist())


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
    return LACKS_COLOURS if is_faded else ""


def _times(ratio: float) -> str:
    return f"{ratio:.1f} x" if ratio >= 1.1 else f"{ratio:.2f} x"
