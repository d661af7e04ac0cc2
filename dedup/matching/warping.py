"""Two pictures laid on each other: a transform in, both where they overlap out.

Picture, Picture, (3, 3) transform in unit coordinates  ->  Frame
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from dedup.matching.pictures import Picture

SIDE = 128  # of the common frame in px
ROUGHLY, FINELY = (12, 1e-3), (10, 3e-4)  # steps of the search for the best fit, and the gain of one that ends it
FARTHEST = 0.04  # how far that may move a corner, as a share of the side
HOPELESS = 0.55  # correlation of fine detail after a rough fit below which there is no better one


@dataclass(frozen=True)
class Frame:
    """Both pictures where they overlap, in the squeezed frame of the one that lies in the other.

    base, other : (side, side) uint8 grey, equally sharp
    mask : (side, side) bool, where there is something of both
    base_is_first : which of the two gives the frame
    transform : unit coordinates of the base -> unit coordinates of the other
    """

    base: np.ndarray
    other: np.ndarray
    mask: np.ndarray
    base_is_first: bool
    transform: np.ndarray

    @property
    def first_to_second(self) -> np.ndarray:
        return self.transform if self.base_is_first else np.linalg.inv(self.transform)


def outline(transform: np.ndarray) -> np.ndarray:
    """(4, 2) where the unit square's corners go."""
    return cv2.perspectiveTransform(np.float32([[[0, 0], [1, 0], [1, 1], [0, 1]]]), transform)[0]


def shares(picture: Picture, polygon: np.ndarray) -> tuple[float, float]:
    """Share of a picture inside a convex polygon in unit coordinates: of its area, and with plain margins as inside."""
    share, (left, top, right, bottom) = _area(_clip(polygon, 0, 0, 1, 1)), picture.box
    if picture.box == (0, 0, 1, 1):
        return share, share
    return share, 1 - (right - left) * (bottom - top) + _area(_clip(polygon, left, top, right, bottom))


def _clip(polygon: np.ndarray, left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """The part of a convex polygon in a box (Sutherland and Hodgman, CACM 1974), (k, 2)."""
    if ((polygon >= (left, top)) & (polygon <= (right, bottom))).all():
        return polygon
    corners = [tuple(map(float, corner)) for corner in polygon]
    for axis, sign, limit in ((0, 1, left), (0, -1, -right), (1, 1, top), (1, -1, -bottom)):
        kept = []
        for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
            from_start, from_end = sign * start[axis] - limit, sign * end[axis] - limit  # >= 0 is inside
            if from_start >= 0:
                kept.append(start)
            if (from_start >= 0) != (from_end >= 0):
                along = from_start / (from_start - from_end)
                kept.append(tuple(s + along * (e - s) for s, e in zip(start, end, strict=True)))
        corners = kept
    return np.array(corners).reshape(-1, 2)


def _area(polygon: np.ndarray) -> float:
    """Area of a polygon (k, 2), in either sense of turning."""
    corners = polygon.tolist()
    return abs(sum(x * v - y * u for (x, y), (u, v) in zip(corners, corners[1:] + corners[:1], strict=True))) / 2


def to_pixels(transform: np.ndarray, image: np.ndarray, side: int) -> np.ndarray:
    """Pixel of a side x side frame -> pixel of the image, pixels counted at their centres."""
    height, width = image.shape[:2]
    to_image = np.array([[width, 0, -0.5], [0, height, -0.5], [0, 0, 1]])
    return to_image @ transform @ _to_unit(side)


def warp(image: np.ndarray, pixels: np.ndarray, side: int) -> np.ndarray:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpPerspective(image, pixels, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def lay(first: Picture, second: Picture, transform: np.ndarray, side: int = SIDE) -> Frame:
    """Bring both pictures into one frame, at the sharpness of the less sharp one.

    transform : unit coordinates of the first -> unit coordinates of the second
    """
    inverse = np.linalg.inv(transform)
    base_is_first = sum(shares(first, outline(inverse))) >= sum(shares(second, outline(transform)))
    base, other = (first, second) if base_is_first else (second, first)
    transform = transform if base_is_first else inverse
    # Both are shrunk to the fewer px that either has along each side, so that neither is sharper.
    fine = np.minimum(side, base.grey.shape[::-1])  # (2,) px of the base that the frame can show, across and down
    reach = stretch(transform, other.grey) / fine  # (2, 2) px of `other`, (across, down) for a px of the base
    height, width = other.grey.shape
    across, down = np.maximum(np.linalg.norm(reach, axis=1), 1)
    image = _shrink(other.grey, width / across, height / down)
    reach = stretch(transform, image) / fine
    across, down = np.minimum(np.linalg.norm(reach, axis=0), 1) * fine
    own = cv2.resize(_shrink(base.grey, across, down), (side, side), interpolation=cv2.INTER_LINEAR)
    pixels = to_pixels(transform, image, side)
    whole = np.full(image.shape, 255, np.uint8)
    inside = cv2.warpPerspective(whole, pixels, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP) > 250
    return Frame(own, warp(image, pixels, side), inside, base_is_first, transform)


def stretch(transform: np.ndarray, image: np.ndarray) -> np.ndarray:
    """(2, 2) px of an image, (x, y), that the unit square's two sides cover, near its middle."""
    middle, right, below = (transform @ [x, y, 1] for x, y in ((0.5, 0.5), (0.6, 0.5), (0.5, 0.6)))
    middle, right, below = (point[:2] / point[2] for point in (middle, right, below))
    return np.stack([right - middle, below - middle], axis=1) * 10 * np.array(image.shape[1::-1])[:, None]


def _shrink(image: np.ndarray, width: float, height: float) -> np.ndarray:
    size = max(8, round(width)), max(8, round(height))
    return image if size == image.shape[::-1] else cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def refine(frame: Frame) -> Frame:
    """Move the other picture by fractions of a pixel to where it fits best (ECC; Evangelidis, TPAMI 2008).

    A frame of half the side is tried first. Where little fine detail agrees after that, as of two pictures that share a
    sky and a ground, the frame is returned as it is.
    """
    side = len(frame.base) // 2
    small = (cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA) for plane in _planes(frame))
    rough = _best_move(*small, np.eye(3), *ROUGHLY)
    if rough is None or detail(_moved(frame, rough)) < HOPELESS:
        return frame
    move = _best_move(*_planes(frame), rough, *FINELY)
    if move is None or not np.abs(outline(move) - outline(np.eye(3))).max() < FARTHEST:
        return frame
    return _moved(frame, move)


def _planes(frame: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return frame.base, frame.other, frame.mask.astype(np.uint8)


def _best_move(
    base: np.ndarray, other: np.ndarray, mask: np.ndarray, start: np.ndarray, steps: int, least_gain: float
) -> np.ndarray | None:
    """(3, 3) homography in unit coordinates, base -> other, close to `start`; None without texture to go by."""
    unit = _to_unit(len(base))
    move = (np.linalg.inv(unit) @ start @ unit).astype(np.float32)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, steps, least_gain)
    try:
        _, move = cv2.findTransformECC(base, other, move, cv2.MOTION_HOMOGRAPHY, criteria, mask, 3)
    except cv2.error:
        return None
    move = unit @ move.astype(float) @ np.linalg.inv(unit)
    return move / move[2, 2]


def _to_unit(side: int) -> np.ndarray:
    """Pixel of a side x side frame -> unit coordinates."""
    return np.array([[1 / side, 0, 0.5 / side], [0, 1 / side, 0.5 / side], [0, 0, 1]])


def _moved(frame: Frame, move: np.ndarray) -> Frame:
    """The frame with its other picture moved, in unit coordinates."""
    side, unit = len(frame.base), _to_unit(len(frame.base))
    pixels = np.linalg.inv(unit) @ move @ unit
    other = warp(frame.other, pixels, side)
    inside = warp(frame.mask.astype(np.uint8) * 255, pixels, side) > 250
    transform = frame.transform @ move
    return replace(frame, other=other, mask=inside & frame.mask, transform=transform / transform[2, 2])


def fine(image: np.ndarray) -> np.ndarray:
    """Details of about 2 to 8 px."""
    return cv2.GaussianBlur(image, (0, 0), 0.8) - cv2.GaussianBlur(image, (0, 0), 2.5)


def detail(frame: Frame, images: Sequence[np.ndarray] | None = None) -> float:
    """Correlation of the fine detail of both pictures where they overlap.

    images : (side, side) float32, both pictures' details where they are known
    """
    own, other = images or [fine(image.astype(np.float32)) for image in (frame.base, frame.other)]
    own, other = (np.where(frame.mask, image, 0).ravel() for image in (own, other))
    return float(np.dot(own, other) / np.sqrt(np.dot(own, own) * np.dot(other, other) + 1))
