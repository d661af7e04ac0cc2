"""Where one picture lies in another: two pictures in, candidate transforms out.

Picture, Picture  ->  (3, 3) homographies, unit coordinates of the first -> those of the second, most likely first
"""

from __future__ import annotations

from collections.abc import Iterator

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


def whole_transforms(first: Picture, second: Picture, least: float = 0.5, most: int = 3) -> list[np.ndarray]:
    """Transforms that lay all of one picture, its content or a panel on those of the other, turned and mirrored.

    Only those whose squeezed squares correlate by `least` or more, the best `most`.
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


def keypoint_transforms(first: Picture, second: Picture, least: int = 7) -> Iterator[tuple[np.ndarray, int]]:
    """Transforms that at least `least` keypoint matches agree on, upright and mirrored, with that number.

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
        if affine is None or inside.sum() < least:
            continue
        if mirrored != (np.linalg.det(affine[:, :2]) < 0):
            continue
        inside = inside.ravel().astype(bool)
        transform, count = np.vstack([affine, [0, 0, 1]]), int(inside.sum())
        if count >= 12:
            reach = np.linalg.norm(cv2.transform(start[None], affine)[0] - end, axis=1) < THUMBNAIL / 20
            finer, kept = cv2.findHomography(start[reach], end[reach], cv2.RANSAC, 2.5)
            if finer is not None and kept.sum() >= 0.8 * count:
                transform, count = finer, int(kept.sum())
        unit = np.diag([*(1 / size_b), 1]) @ transform @ np.diag([*size_a, 1])
        if _sane(unit):
            yield unit / unit[2, 2], count
