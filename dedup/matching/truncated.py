"""A picture that was cut off half way, by a broken download, and the whole: Picture, Picture in, Match out.

What was not received is plain, below. The rest lies where it lies in the whole, and is its upper part.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dedup.matching.classification import Match, judge
from dedup.matching.pictures import Picture
from dedup.matching.similarity import compare
from dedup.matching.warping import lay

LEAST_RECEIVED = 0.2  # share of a picture that must have been received


def match_truncated(first: Picture, second: Picture, distance: float) -> Match | None:
    """The match of two pictures of which one alone ends before its lower edge; None where they are not one picture."""
    ends = [_end(picture) for picture in (first, second)]
    if (ends[0] < 1) == (ends[1] < 1) or min(ends) < LEAST_RECEIVED:
        return None
    to_first, to_second = (np.diag([1, end, 1]) for end in ends)  # what was received -> the picture
    received = [_received(picture, end) for picture, end in zip((first, second), ends, strict=True)]
    frame = lay(*received, np.linalg.inv(to_second) @ to_first)
    found = judge(*received, frame, compare(*received, frame), distance)
    place = to_second @ frame.first_to_second @ np.linalg.inv(to_first)
    return found and replace(found, transform=tuple(map(float, (place / place[2, 2]).ravel())))


def _end(picture: Picture) -> float:
    """Where a picture ends that is plain below and nowhere else, as a share of its height; 1 = at its lower edge."""
    left, top, right, bottom = picture.box
    return bottom if (left, top, right) == (0, 0, 1) else 1.0


def _received(picture: Picture, end: float) -> Picture:
    """The upper part of a picture."""
    grey, colours = (image[: max(1, round(end * len(image)))] for image in (picture.grey, picture.colours))
    height = max(1, round(end * picture.height))
    return replace(picture, height=height, grey=grey, colours=colours, box=(0.0, 0.0, 1.0, 1.0), panels=())
