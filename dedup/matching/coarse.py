"""A coarse picture and a sharp one: Picture, Picture in, Match out.

A thumbnail of a few px, a placeholder, a copy blurred to nothing has no fine detail to confirm. What is left of it,
some hundred px, must agree nearly px by px, in brightness and colour, everywhere, and whole on whole.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from dedup.matching.classification import Match, is_resaved, resolution_ratios
from dedup.matching.kinds import MatchKind
from dedup.matching.pictures import COARSE, Picture
from dedup.matching.registration import whole_transforms
from dedup.matching.warping import outline

COARSE_PART = 8  # px, side of the parts that must agree each
BLURS = (0.0, 0.5, 0.8, 1.2, 1.6, 2.2, 3.0)  # px, sigma, to make the sharp one as coarse
COARSE_TEXTURE = 3.0  # CIELAB L, standard deviation around the mean nearby
COARSE_AGREES, COLOURS_AGREE = 0.8, 0.85  # correlation of each part, and of all colours


def match_coarse(first: Picture, second: Picture, distance: float) -> Match | None:
    """The match of two pictures of which one alone is coarse; None where they are not one picture."""
    if first.coarse == second.coarse:
        return None
    for transform in whole_transforms(first, second):
        if np.allclose(np.sort(outline(transform), axis=0), [[0, 0], [0, 0], [1, 1], [1, 1]], atol=0.02):
            own, other = _laid(first, transform), _laid(second, np.eye(3))
            if _agree(own, other) if first.coarse else _agree(other, own):
                sizes = resolution_ratios(_as_seen(first), _as_seen(second), transform)
                place = tuple(map(float, transform.ravel()))
                kind = MatchKind.RESAVED if is_resaved(first, second, transform) else MatchKind.EDITED
                return Match(kind, distance, transform=place, first_resolution=sizes[0], second_resolution=sizes[1])
    return None


def _laid(picture: Picture, turn: np.ndarray) -> np.ndarray:
    """(COARSE, COARSE, 3) float32 CIELAB: the whole picture, squeezed, turned."""
    colours = picture.colours
    is_larger = min(colours.shape[:2]) >= COARSE
    how = cv2.INTER_AREA if is_larger else cv2.INTER_LINEAR
    square = np.float32(cv2.resize(colours, (COARSE, COARSE), interpolation=how)) / 255
    to_unit = np.array([[1 / COARSE, 0, 0.5 / COARSE], [0, 1 / COARSE, 0.5 / COARSE], [0, 0, 1]])
    pixels = np.linalg.inv(to_unit) @ turn @ to_unit
    turned = cv2.warpPerspective(square, pixels, (COARSE, COARSE), borderMode=cv2.BORDER_REPLICATE)
    return cv2.cvtColor(turned, cv2.COLOR_RGB2LAB)


def _as_seen(picture: Picture) -> Picture:
    """The picture with no more px than it shows."""
    scale = min(1.0, COARSE / max(picture.width, picture.height)) if picture.coarse else 1.0
    return replace(picture, width=picture.width * scale, height=picture.height * scale)


def _agree(coarse: np.ndarray, sharp: np.ndarray) -> bool:
    """Whether two squares (COARSE, COARSE, 3) CIELAB show one picture, once the sharp one is as coarse."""
    blurred = (cv2.GaussianBlur(sharp, (0, 0), sigma) if sigma else sharp for sigma in BLURS)
    sharp = max(blurred, key=lambda image: _likeness(coarse[..., 0], image[..., 0]))
    details = [image[..., 0] - cv2.GaussianBlur(image[..., 0], (0, 0), 2.5) for image in (coarse, sharp)]
    if (
        min(each.std() for each in details) < COARSE_TEXTURE
        or _likeness(coarse[..., 1:], sharp[..., 1:]) < COLOURS_AGREE
    ):
        return False
    steps = range(0, COARSE, COARSE_PART)
    parts = ((slice(top, top + COARSE_PART), slice(left, left + COARSE_PART)) for top in steps for left in steps)
    return all(_likeness(*(each[part] for each in details), noise=0.35) >= COARSE_AGREES for part in parts)


def _likeness(a: np.ndarray, b: np.ndarray, noise: float = 0.0) -> float:
    """Correlation, over all but the last of three axes together; deviations up to `noise` count little."""
    a, b = a - a.mean(axis=(0, 1)), b - b.mean(axis=(0, 1))
    return float((a * b).mean() / np.sqrt(((a * a).mean() + noise**2) * ((b * b).mean() + noise**2) + 1e-9))
