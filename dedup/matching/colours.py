"""Colours of two pictures laid on each other, compared place by place.

Picture, Picture, Frame  ->  Places  ->  bool

What people do to a photo's colours they do everywhere alike: more or less of them, a cast, none, sepia. Where some area
has a colour of its own that such a change does not explain, another thing was photographed or drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dedup.matching.pictures import Picture
from dedup.matching.warping import Frame, stretch, to_pixels, warp

SIDE = 24  # places across and down the frame
CAST = 12.0  # CIELAB units that may be added to all colours
STRONGER = 3.0  # times as strong as the other's all colours may be
UNEXPLAINED = 8.0  # CIELAB units, beyond shares of a colour's strength along and across its hue, that may be left
ALONG, ACROSS = (0.5, 1.0), (0.25, 0.6)  # the second where one is as bright or dark as can be
CLIPPED = 8, 240  # levels of a channel beyond which brightness may have turned the hue
LIT_OTHERWISE = 15.0  # levels of lightness between two pictures of which one is brighter
AREA = 10  # places side by side that are an area of its own
GREY = 3.0  # mean chroma below which a picture has no colours
ONE_HUE = 0.85  # share of the colours' strength in one direction from which a picture has but one hue
TONED, COLOURFUL = (
    0.06,
    0.08,
)  # share of the colours that lightness leaves unexplained: of a tone, of a photo
SEPIA, PALE = (35.0, 100.0), (35.0, 50.0)  # hue in degrees; strength on the mean, and at 95 of 100 places


@dataclass(frozen=True)
class Places:
    """Both pictures' colours where they overlap.

    lumas : two (SIDE, SIDE) float32, 0 to 255
    chromas : two (SIDE, SIDE) complex, a + ib (CIELAB)
    clipped : (SIDE, SIDE) bool, where one is as bright or dark as can be, and the other is not, or is less so
    mask : (SIDE, SIDE) bool, places that count
    """

    lumas: tuple[np.ndarray, np.ndarray]
    chromas: tuple[np.ndarray, np.ndarray]
    clipped: np.ndarray
    mask: np.ndarray

    @property
    def strengths(self) -> tuple[float, float]:
        """Mean chroma of either; near 0 is grey."""
        return tuple(float(np.abs(each[self.mask]).mean()) if self.mask.any() else 0.0 for each in self.chromas)


def places_of(first: Picture, second: Picture, frame: Frame, apart: np.ndarray) -> Places:
    """Both pictures' colours in a frame.

    apart : (rows, columns) bool, blocks of the frame to leave out: a sticker's colours say nothing of the picture's
    """
    base, other = (first, second) if frame.base_is_first else (second, first)
    soft = [cv2.GaussianBlur(picture.colours, (0, 0), 1) for picture in (base, other)]
    own = cv2.resize(soft[0], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    images = [np.float32(each) for each in (own, warp(soft[1], to_pixels(frame.transform, soft[1], SIDE), SIDE))]
    shown = np.linalg.norm(stretch(frame.transform, soft[1]), axis=0).min()  # px of the other across the base
    coarse = SIDE / max(min(shown, *soft[0].shape[:2]), 1)
    if coarse > 1:  # px larger than a place: neither may be sharper
        images = [cv2.GaussianBlur(image, (0, 0), coarse) for image in images]
    near = cv2.dilate(apart.astype(np.uint8), np.ones((3, 3), np.uint8))
    inside, hidden = (
        cv2.resize(part.astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST) for part in (frame.mask, near)
    )
    labs = [cv2.cvtColor(image / 255, cv2.COLOR_RGB2LAB) for image in images]
    lumas = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
    chromas = [lab[..., 1] + 1j * lab[..., 2] for lab in labs]
    turned = slice(None, None, 1 if frame.base_is_first else -1)
    clipped = [(image.max(axis=-1) > CLIPPED[1]) | (image.min(axis=-1) < CLIPPED[0]) for image in images]
    ring = {"borderType": cv2.BORDER_CONSTANT, "borderValue": 0}  # what lies around one may shine into it
    mask = (cv2.erode(inside, np.ones((3, 3), np.uint8), **ring) > 0) & (hidden == 0)
    is_lit_otherwise = np.abs(lumas[0] - lumas[1]) > LIT_OTHERWISE
    may_have_turned = (clipped[0] != clipped[1]) | (clipped[0] & is_lit_otherwise)
    return Places(tuple(lumas[turned]), tuple(chromas[turned]), may_have_turned, mask)


def other_colours(places: Places) -> bool:
    """Whether an area has a colour in one picture that no change of all colours makes of the other's."""
    colours = [each[places.mask] for each in places.chromas]
    if max(places.strengths) < GREY or len(colours[0]) < AREA:
        return False
    lumas = [each[places.mask] for each in places.lumas]
    has_own = [_own_colours(*each) for each in zip(lumas, colours, strict=True)]
    if any(_is_sepia(colours[k]) and has_own[k] < TONED and not 0 < has_own[1 - k] < COLOURFUL for k in (0, 1)):
        return False
    areas = (_area_unexplained(*pair, places) for pair in (colours, colours[::-1]))
    return min(areas) >= AREA


def _has_one_hue(colours: np.ndarray) -> bool:
    """Whether nearly all colours (k,) are of one hue; greys have none."""
    strength = np.abs(colours).sum()
    return bool(strength > GREY * len(colours) and np.abs(colours.sum()) > ONE_HUE * strength)


def _own_colours(lumas: np.ndarray, colours: np.ndarray) -> float:
    """Share of the colours' strength that lightness leaves unexplained, both (k,); 0 for greys."""
    if np.abs(colours).mean() < GREY:
        return 0.0
    terms = np.stack([np.ones(len(lumas)), lumas / 255, (lumas / 255) ** 2], axis=1)
    fitted = terms @ np.linalg.lstsq(terms, colours, rcond=None)[0]
    return float(np.abs(colours - fitted).mean() / np.abs(colours).mean())


def _is_sepia(colours: np.ndarray) -> bool:
    strengths = np.abs(colours)
    if not _has_one_hue(colours) or strengths.mean() >= PALE[0] or np.percentile(strengths, 95) >= PALE[1]:
        return False  # an orange drawing on white is not sepia
    return bool(SEPIA[0] < np.degrees(np.angle(colours.sum())) < SEPIA[1])


def _area_unexplained(own: np.ndarray, other: np.ndarray, places: Places) -> int:
    """Places of the largest area where `other` is no stronger, weaker or cast version of `own`, both (k,) complex."""
    factor, cast = _fit(own, other)
    expected = factor * own + cast
    strength = np.abs(expected)
    direction = np.where(strength > 1e-6, expected / np.maximum(strength, 1e-6), 1)
    off = (other - expected) * direction.conj()
    along, across = (np.where(places.clipped[places.mask], *shares[::-1]) * strength for shares in (ALONG, ACROSS))
    beyond = np.hypot(np.maximum(np.abs(off.real) - along, 0), np.maximum(np.abs(off.imag) - across, 0))
    flagged = np.zeros(places.mask.shape, np.uint8)
    flagged[places.mask] = beyond > UNEXPLAINED
    sizes = cv2.connectedComponentsWithStats(flagged)[2][1:, cv2.CC_STAT_AREA]
    return int(sizes.max(initial=0))


def _fit(own: np.ndarray, other: np.ndarray, steps: int = 8) -> tuple[float, complex]:
    """The factor and the cast that make most of `other` of `own`; what they don't explain counts little."""
    weights = np.ones(len(own))
    for _ in range(steps):
        middle, other_middle = (np.average(each, weights=weights) for each in (own, other))
        a, b = own - middle, other - other_middle
        held = GREY**2 * weights.sum()  # towards 1, where there is little colour to tell
        factor = ((weights * (a.conj() * b).real).sum() + held) / ((weights * np.abs(a) ** 2).sum() + held)
        factor = float(np.clip(factor, 0, STRONGER))
        cast = other_middle - factor * middle
        if abs(cast) > CAST:
            cast, energy = 0, (weights * np.abs(own) ** 2).sum() + 1e-6
            factor = float(np.clip((weights * (own.conj() * other).real).sum() / energy, 0, STRONGER))
        weights = 1 / (1 + (np.abs(other - factor * own - cast) / UNEXPLAINED) ** 2)
    return factor, cast
