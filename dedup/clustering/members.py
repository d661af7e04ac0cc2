"""Members of a cluster. Input: two files and their match. Output: whether one may go for the other; if not, why.

Match  ->  View, as one of the two files sees the other  ->  Reason why it stays  ->  Member of a cluster
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dedup.matching.kinds import MatchKind

if TYPE_CHECKING:
    from dedup.matching.confirmation import Match

COVERED = 0.97  # share of a picture, and of its resolution, that counts as all of it
MARKED = 0.25  # share of a picture under its own captions, stickers and the like, from which it always stays
TURNED, LEAST_MARKS = 0.1, 0.005  # least slope of a turned version; least share under marks of a marked one
LEAST_CHROMA, FADED = 3.0, 0.25  # least mean chroma (CIELAB) of a picture with colours; share of it that counts as grey
NEAR, INDIRECT, KEEPER = "near", "indirect", "keeper"  # kinds of members beside those of matches
EXACT = (MatchKind.IDENTICAL, MatchKind.SAME_PIXELS)
SAME = (*EXACT, MatchKind.RESAVED, NEAR)  # kinds that make files one version
# What may go at each level of `remove`, least first.
LEVELS = {"exact": EXACT, "copies": SAME, "edits": (*SAME, MatchKind.EDITED, MatchKind.CROP)}


class Why(StrEnum):
    """Codes of the reasons for which a file stays."""

    PROTECTED = "protected"  # its folder, by --protect or --against
    NOT_ARCHIVED = "not archived"  # with archives, only what they show goes
    CONTAINS = "contains"
    INDIRECT = "indirect"
    SIMILAR = "similar"
    MARKS = "marks"
    COVERAGE = "coverage"
    RESOLUTION = "resolution"
    HIDDEN = "hidden"
    COLOURS = "colours"
    CONTENTS = "contents"  # what it holds besides its picture, or how it lies on the disk
    COMPRESSION = "compression"
    LEVEL = "level"  # goes at a higher level of `remove` only
    UNSEEN = "unseen"  # would go at another level than this run's, and was not compared at full resolution
    LOST = "lost"  # something of it or of its keeper could not be found out
    CLOSER = "closer"  # what the comparison at full resolution found


class Reason(NamedTuple):
    """Why a file stays. code : for the program; text : for people"""

    code: Why
    text: str

    def __str__(self) -> str:
        return self.text


class Choice(NamedTuple):
    """What becomes of a file at one level of `remove`. keeper : what it would go for; reason : why it stays, or None"""

    keeper: Path
    reason: Reason | None


class Change(StrEnum):
    """What was done to a picture, by its match with another one."""

    TURNED = "turned"
    MIRRORED = "mirrored"
    GREY = "grey"
    MARKED = "marked"


UNSEEN = Reason(Why.UNSEEN, "goes only if a comparison at full resolution allows it")
LACKS_COLOURS = Reason(Why.COLOURS, "has colours the kept file lacks")


@dataclass(frozen=True)
class Member:
    """A file of a cluster, as compared with the file that it would go for.

    width, height : px, upright
    distance : cosine distance of the embeddings
    kind : MatchKind of its match with `keeper`; `indirect` without a match of its own; `near` if it is within epsilon
        and nothing was confirmed; `keeper` for the keeper of the cluster
    coverage : share of this picture that `keeper` shows, 0 to 1; taken for granted where the kind is `near`
    version : number in its cluster, from 1; 0 for a file that shows the picture beside other things
    keeper : what it would go for: the best file of its version; for that, the keeper of the cluster; None for this one
    reason : why it stays, None if it may go
    place : where this picture lies on `keeper`: homography, row by row, from its unit coordinates to the keeper's;
        empty where that is not known
    changes : what was done to `keeper` to make this picture; empty where that is not known
    levels : what becomes of it at each of LEVELS, in their order; empty where that is the same at all of them
    merge : what is to be written into the XMP file beside `keeper` before this file goes, values by name
    """

    path: Path
    width: int
    height: int
    bytes: int
    distance: float
    kind: str
    coverage: float
    version: int = 1
    keeper: Path | None = None
    reason: Reason | None = None
    place: tuple[float, ...] = ()
    changes: tuple[Change, ...] = ()
    levels: tuple[Choice, ...] = ()
    merge: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def removable(self) -> bool:
        """Whether it may go."""
        return self.keeper is not None and self.reason is None


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


def what_is_missing(view: View) -> Reason | None:
    """Why a member stays for what it shows and its keeper does not; None if the keeper shows all of it."""
    if view.kind == MatchKind.CONTAINS:
        beside = view.coverage < view.shown
        text = "shows the kept file beside other things" if beside else "the kept file shows it beside other things"
        return Reason(Why.CONTAINS, text)
    if view.kind not in LEVELS["edits"]:
        return Reason(Why.SIMILAR, "similar, not confirmed")
    if view.marks > MARKED or view.coverage < COVERED <= view.coverage + view.marks:
        return Reason(Why.MARKS, f"has marks of its own over {100 * view.marks:.0f} % of it")
    if view.coverage < COVERED:
        return Reason(Why.COVERAGE, f"{100 * (1 - view.coverage):.0f} % of it is not in the kept file")
    if view.resolution < COVERED:
        ratio = 1 / max(view.resolution, 0.01)
        times = f"{ratio:.1f}" if ratio >= 1.1 else f"{ratio:.2f}"
        return Reason(Why.RESOLUTION, f"has {times} x the resolution of the kept file")
    if view.hidden > 1 - COVERED:
        return Reason(Why.HIDDEN, f"the kept file has marks over {100 * view.hidden:.0f} % of it")
    if view.chroma > LEAST_CHROMA and view.kept_chroma < FADED * view.chroma:
        return LACKS_COLOURS
    return None


def changes_of(view: View, place: Sequence[float]) -> tuple[Change, ...]:
    """What was done to the keeper to make the picture that lies on it like this."""
    if view.kind not in (MatchKind.EDITED, MatchKind.CROP) or not len(place):
        return ()
    corners = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1]]) @ np.reshape(place, (3, 3)).T  # (3, 3)
    origin, across, down = corners[:, :2] / corners[:, 2:]
    across, down = across - origin, down - origin
    is_mirrored = across[0] * down[1] < across[1] * down[0]
    is_turned = abs(across[1]) > TURNED * abs(across[0]) or (across[0] < 0 and not is_mirrored)
    is_grey = view.kept_chroma > LEAST_CHROMA and view.chroma < FADED * view.kept_chroma
    found = (is_turned, is_mirrored, is_grey, view.marks > LEAST_MARKS)
    return tuple(change for change, is_so in zip(Change, found, strict=True) if is_so)


def is_out_of_reach(kind: str, remove: str) -> Reason | None:
    """Why a file of this match stays at a level of `remove` although its keeper shows all of it; None if it may go."""
    if kind in LEVELS[remove]:
        return None
    levels = "edits" if kind in (MatchKind.EDITED, MatchKind.CROP) else "copies or edits"
    return Reason(Why.LEVEL, f"goes only with --remove {levels}")
