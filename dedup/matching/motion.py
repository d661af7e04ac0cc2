"""Whether something moved between two pictures laid on each other, as between two shots: Frame in, a share out.

A copy that is blurred, compressed or retoned fits where it lies; what a shot shows fits better elsewhere, here further
left, there further down.
"""

from __future__ import annotations

import cv2
import numpy as np

from dedup.matching.warping import Frame, detail, fine

NEAR = 12.0  # px of the frame, sigma of the window in which everything moves alike
STEPS, MOTION_REACH = 8, 4.0  # of the search, and how far it may go in px of the frame
STIFF = 0.02  # share of the usual gradient energy that holds places still which have little texture


def explained_by_motion(frame: Frame) -> float:
    """Share of the difference in fine detail that goes away when every place may move a little on its own, up to 1.

    The motion is found as by Lucas and Kanade (IJCAI 1981), in Gaussian windows. What of it turns, stretches or bends
    the picture as one, as when it was laid a little beside where it belongs, explains nothing.
    """
    details = [fine(image.astype(np.float32)) for image in (frame.base, frame.other)]
    base, other = (each / max(float(each[frame.mask].std()), 0.1) for each in details)
    weight = frame.mask.astype(np.float32)
    still = np.stack(np.meshgrid(*(np.arange(len(base), dtype=np.float32),) * 2), axis=-1)  # (side, side, 2) x, y
    motion, moved = np.zeros_like(still), other
    for _ in range(STEPS):
        motion = np.clip(motion + _step(base, moved, weight), -MOTION_REACH, MOTION_REACH)
        moved = _looked_up(other, still + motion)
    textured = frame.mask & (np.abs(base) > 1)  # where a motion can be told
    as_one = detail(frame, [base, _looked_up(other, still + _as_one(still, motion, textured))])
    return (detail(frame, [base, moved]) - as_one) / max(1 - as_one, 1e-6)


def _looked_up(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    return cv2.remap(image, places.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _as_one(still: np.ndarray, motion: np.ndarray, where: np.ndarray) -> np.ndarray:
    """(side, side, 2) the quadratic polynomial of the place that is nearest to a motion where it can be told."""
    x, y = np.moveaxis(still, -1, 0) / len(still) - 0.5
    terms = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1)  # (side, side, 6)
    known, wanted = terms[where].astype(float), motion[where].astype(float)
    weights = np.linalg.pinv(known.T @ known, hermitian=True) @ (known.T @ wanted)  # least squares, in few numbers
    return terms @ weights.astype(np.float32)


def _step(base: np.ndarray, other: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(side, side, 2) where each place of `other` should be looked for, in px right and down, to fit `base` better."""
    across, down = (cv2.Sobel((base + other) / 2, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))

    def around(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values * weight, (0, 0), NEAR)

    xx, xy, yy = around(across * across), around(across * down), around(down * down)
    lost, stiffness = base - other, STIFF * float((xx + yy).mean()) + 1e-9
    x, y = around(across * lost), around(down * lost)
    xx, yy = xx + stiffness, yy + stiffness
    return np.stack([yy * x - xy * y, xx * y - xy * x], axis=-1) / (xx * yy - xy * xy)[..., None]
