"""Registration: where one picture lies in another, and both laid on each other there.

Picture, Picture  ->  (3, 3) homographies, unit coordinates of the first -> those of the second, most likely first
Picture, Picture, homography  ->  Frame
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from dedup.dataset.decoding import THUMBNAIL
from dedup.matching.pictures import GRID, Picture

MISS = 4.0  # px of the small copy by which a keypoint may miss the place where a transform brings it
# The eight ways to turn and mirror the unit square.
_MIRROR = np.array([[-1, 0, 1], [0, 1, 0], [0, 0, 1]], float)
_TURN = np.array([[0, -1, 1], [1, 0, 0], [0, 0, 1]], float)  # by a quarter
TURNS = [np.linalg.matrix_power(_TURN, k) @ m for m in (np.eye(3), _MIRROR) for k in range(4)]


def _turned_squares() -> np.ndarray:
    """(8, GRID * GRID) int: pixel order that shows a square turned by each of TURNS."""
    centres = (np.stack(np.meshgrid(np.arange(GRID), np.arange(GRID)), axis=-1).reshape(-1, 2) + 0.5) / GRID
    orders = []
    for turn in TURNS:  # pixel at x in the second is pixel turn^-1 (x) of the first
        x, y = (np.c_[centres, np.ones(len(centres))] @ np.linalg.inv(turn).T)[:, :2].T
        orders.append(np.floor(y * GRID).astype(int) * GRID + np.floor(x * GRID).astype(int))
    return np.stack(orders)


_ORDERS = _turned_squares()


def _box_transform(box: tuple[float, float, float, float]) -> np.ndarray:
    """Unit square -> box."""
    left, top, right, bottom = box
    return np.array([[right - left, 0, left], [0, bottom - top, top], [0, 0, 1]], float)


def whole_transforms(first: Picture, second: Picture, least: float = 0.5, most: int = 2) -> list[np.ndarray]:
    """Transforms that lay the whole, the content or a panel of one picture on that of the other, turned and mirrored.

    Only the best `most` whose squeezed squares correlate by `least` or more.
    """
    views = first.squares.astype(np.float32)[:, _ORDERS]  # (k, 8, GRID * GRID)
    scores = views @ second.squares.astype(np.float32).T  # (k, 8, l)
    best = np.argsort(-scores, axis=None, kind="stable")[:most]
    found = []
    for a, t, b in zip(*np.unravel_index(best, scores.shape), strict=True):
        if scores[a, t, b] >= least:
            from_box, to_box = _box_transform(first.views[a]), _box_transform(second.views[b])
            found.append(to_box @ TURNS[t] @ np.linalg.inv(from_box))
    return found


def _ratio_matches(first: np.ndarray, second: np.ndarray, ratio: float = 0.85) -> tuple[np.ndarray, np.ndarray]:
    """Mutual nearest descriptors that are clearly nearer than the next (Lowe, IJCV 2004, section 7.1)."""
    likeness = first @ second.T  # (k, l), of unit vectors
    nearest = likeness.argmax(axis=1)
    rows = np.arange(len(first))
    best = likeness[rows, nearest]
    mutual = likeness.argmax(axis=0)[nearest] == rows
    likeness[rows, nearest] = -1
    distance, next_distance = (np.sqrt(np.maximum(2 - 2 * to, 0)) for to in (best, likeness.max(axis=1)))
    rows = rows[mutual & (distance < ratio * next_distance)]
    return rows, nearest[rows]


def _sane(transform: np.ndarray) -> bool:
    """Whether a transform keeps the unit square convex, and its sides between a twelfth and twelve times as long."""
    corners = cv2.perspectiveTransform(np.float32([[[0, 0], [1, 0], [1, 1], [0, 1]]]), transform)[0]
    if not np.isfinite(corners).all() or not cv2.isContourConvex(corners):
        return False
    edges = np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1)
    return bool(edges.min() > 1 / 12 and edges.max() < 12)


def correspondences(
    first: Picture, second: Picture, transform: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints of two pictures that look alike, and which of them a transform brings onto each other.

    Returns
    -------
    (k, 2) and (k, 2) float32, unit coordinates in the first and in the second; (k,) bool
    """
    a, b = first.keypoints, second.keypoints
    if not len(a.points) or not len(b.points):
        return np.empty((0, 2), np.float32), np.empty((0, 2), np.float32), np.empty(0, bool)
    mirrored = np.linalg.det(transform[:2, :2]) < 0
    rows, columns = _ratio_matches(a.mirrored if mirrored else a.descriptors, b.descriptors)
    points, others = a.points[rows], b.points[columns]
    off = cv2.perspectiveTransform(points[None], transform)[0] - others if len(rows) else others
    return points, others, np.linalg.norm(off * second.grey.shape[::-1], axis=1) < MISS


def keypoint_transforms(first: Picture, second: Picture, least: int = 7) -> Iterator[np.ndarray]:
    """Transforms that at least `least` keypoint matches agree on, upright and mirrored.

    RANSAC for an affine map, then a homography on its inliers where there are enough to fix one.
    """
    a, b = first.keypoints, second.keypoints
    if min(len(a.points), len(b.points)) < least:
        return
    size_a, size_b = (np.float32(p.grey.shape[::-1]) for p in (first, second))
    for mirrored in (False, True):
        rows, columns = _ratio_matches(a.mirrored if mirrored else a.descriptors, b.descriptors)
        if len(rows) < least:
            continue
        start, end = a.points[rows] * size_a, b.points[columns] * size_b
        cv2.setRNGSeed(0)
        affine, inside = cv2.estimateAffine2D(start, end, method=cv2.RANSAC, ransacReprojThreshold=MISS, maxIters=1000)
        if affine is None or inside.sum() < least or mirrored != (np.linalg.det(affine[:, :2]) < 0):
            continue
        transform, count = np.vstack([affine, [0, 0, 1]]), int(inside.sum())
        if count >= 12:
            reach = np.linalg.norm(cv2.transform(start[None], affine)[0] - end, axis=1) < THUMBNAIL / 20
            finer, kept = cv2.findHomography(start[reach], end[reach], cv2.RANSAC, 2.5)
            if finer is not None and kept.sum() >= 0.8 * count:
                transform = finer
        unit = np.diag([*(1 / size_b), 1]) @ transform @ np.diag([*size_a, 1])
        if _sane(unit):
            yield unit / unit[2, 2]


SIDE = 128  # of the common frame in px
ROUGHLY, FINELY = (12, 1e-3), (10, 3e-4)  # most steps of the search for the best fit; a smaller gain of a step ends it
FARTHEST = 0.04  # how far that may move a corner, as a share of the side
HOPELESS = 0.55  # correlation of fine detail after a rough fit below which there is no better one


@dataclass(frozen=True)
class Frame:
    """Both pictures where they overlap, in the squeezed frame of the one that lies in the other.

    base, other : (side, side) uint8 grey, equally sharp
    mask : (side, side) bool, where they overlap
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
    """Share of a picture's area inside a convex polygon in unit coordinates; that share if margins count as inside."""
    share, (left, top, right, bottom) = _area_inside(polygon, 0, 0, 1, 1), picture.box
    if picture.box == (0, 0, 1, 1):
        return share, share
    return share, 1 - (right - left) * (bottom - top) + _area_inside(polygon, left, top, right, bottom)


def _area_inside(polygon: np.ndarray, left: float, top: float, right: float, bottom: float) -> float:
    """Area of the part of a convex polygon that lies in a box."""
    box = np.float32([(left, top), (right, top), (right, bottom), (left, bottom)])
    return float(cv2.intersectConvexConvex(np.float32(polygon), box)[0])


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
    # Both are shrunk along each side to the px of the one that has fewer, so that neither is sharper.
    fine = np.minimum(side, base.grey.shape[::-1])  # (2,) px of the base that the frame can show, across and down
    reach = stretch(transform, other.grey) / fine  # (2, 2) px of `other`, (across, down) for a px of the base
    height, width = other.grey.shape
    across, down = np.maximum(np.linalg.norm(reach, axis=1), 1)
    image = _shrunk(other, round(width / across), round(height / down))
    reach = stretch(transform, image) / fine
    across, down = np.minimum(np.linalg.norm(reach, axis=0), 1) * fine
    own = cv2.resize(_shrunk(base, round(across), round(down)), (side, side), interpolation=cv2.INTER_LINEAR)
    pixels = to_pixels(transform, image, side)
    whole = np.full(image.shape, 255, np.uint8)
    inside = cv2.warpPerspective(whole, pixels, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP) > 250
    return Frame(own, warp(image, pixels, side), inside, base_is_first, transform)


def stretch(transform: np.ndarray, image: np.ndarray) -> np.ndarray:
    """(2, 2) px of an image, (x, y), that the unit square's two sides cover, near its middle."""
    middle, right, below = (transform @ [x, y, 1] for x, y in ((0.5, 0.5), (0.6, 0.5), (0.5, 0.6)))
    middle, right, below = (point[:2] / point[2] for point in (middle, right, below))
    return np.stack([right - middle, below - middle], axis=1) * 10 * np.array(image.shape[1::-1])[:, None]


@lru_cache(maxsize=8)  # a picture is laid on several others, and in several ways on each
def _shrunk(picture: Picture, width: int, height: int) -> np.ndarray:
    size, grey = (max(8, width), max(8, height)), picture.grey
    return grey if size == grey.shape[::-1] else cv2.resize(grey, size, interpolation=cv2.INTER_AREA)


def refine(frame: Frame) -> Frame:
    """Move the other picture by fractions of a pixel to where it fits best (ECC; Evangelidis, TPAMI 2008).

    A frame of half the side is tried first. If little fine detail agrees then, as in two pictures that share only sky
    and ground, the frame is returned as it is.
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
    """(3, 3) homography in unit coordinates, base -> other, close to `start`; None if there is too little texture."""
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
