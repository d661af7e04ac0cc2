"""Kinds of matches: what a file shows of another one, from surest to least."""

from __future__ import annotations

from enum import StrEnum


class MatchKind(StrEnum):
    """What two files that were compared are to each other.

    IDENTICAL : the same bytes
    SAME_PIXELS : the same values once decoded and turned upright: full bit depth, alpha and colour profile included
    RESAVED : the same picture in another format, quality or size: same framing, same way up, same tone and colours,
        nothing added on either side
    EDITED : the same picture with something changed on purpose: turned, mirrored, retoned, stretched, marked, framed
    CROP : one shows a part of the other
    CONTAINS : one shows the other beside more: collage, screenshot, meme
    SIMILAR : near, but not one picture
    """

    IDENTICAL = "identical"
    SAME_PIXELS = "same_pixels"
    RESAVED = "resaved"
    EDITED = "edited"
    CROP = "crop"
    CONTAINS = "contains"
    SIMILAR = "similar"

    @property
    def joins(self) -> bool:
        """Whether files of such a match come into one cluster."""
        return self not in (MatchKind.CONTAINS, MatchKind.SIMILAR)
