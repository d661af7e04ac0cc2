"""Cuts: a picture that shows a part of another, and that other in, whether the part may have been cut out of it, out.

The whole may also have been made from the part: a frame laid around it, a line of text set below.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from dedup.clustering.jpeg_forensics import SIDE, read_plane
from dedup.clustering.jpeg_steps import BEYOND, INNER, in_steps
from dedup.clustering.quality import read_details
from dedup.clustering.resaving import MCU, alike, corner_of, mostly
from dedup.workers import job

REACH = 8  # px from where a part should be in the whole
TILE, MOST = 64, 90  # px of the places where they are compared; the percentile of their errors that counts
BY_CHANCE, ROUNDING = 2.0, 1.0  # ratio, and difference, of mean squared errors that say nothing


@job
def may_be_cut_from(part: Path, whole: Path, transform: Sequence[float]) -> bool:
    """Whether a part differs from the whole just as saving it made it differ; also where that can't be told.

    Steps of a mean square s leave a mean squared error of at most s / 12, and each coefficient somewhere in the step
    that it was rounded to. What was made from the part, and saved, is near the middle of it, or anywhere.

    Parameters
    ----------
    transform : homography, row by row, from unit coordinates of the part to the whole's; both as large on the screen
    """
    planes = read_plane(part), read_plane(whole)
    if None in planes or not (planes[0].table.any() or read_details(part).lossless):
        return True
    grey, other = (plane.grey for plane in planes)
    size = np.array(grey.shape[::-1])
    left = np.maximum(size - SIDE, 0) // 16 * 8  # on its blocks
    unit = np.float32([left, left + [1, 0], left + [0, 1]]) / size
    found = cv2.perspectiveTransform(unit[None], np.reshape(transform, (3, 3)))[0] * other.shape[::-1]
    turn = np.rint(found[1:] - found[0]).T  # (2, 2), a step of a px for each side
    if abs(round(np.linalg.det(turn))) != 1:
        return True
    cut = np.s_[left[1] : left[1] + SIDE, left[0] : left[0] + SIDE]
    window = grey[cut]
    height, width = window.shape
    lay = np.c_[turn, found[0] - turn @ [REACH, REACH]]
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    beyond = width + 2 * REACH, height + 2 * REACH
    around = cv2.warpAffine(other, lay, beyond, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    x, y = cv2.minMaxLoc(cv2.matchTemplate(around, window, cv2.TM_SQDIFF))[2]
    same = around[y : y + height, x : x + width]
    errors = np.square(np.float32(window) - same)
    tiles = cv2.resize(errors, (-(-width // TILE), -(-height // TILE)), interpolation=cv2.INTER_AREA)
    if np.percentile(tiles, MOST) > BY_CHANCE * np.mean(planes[0].table ** 2) / 12 + ROUNDING:
        return False
    shares = in_steps(window, same, planes[0].cut_off[cut], planes[0].table)
    if shares is not None and (shares[0] > INNER or shares[1] > BEYOND):
        return False
    if (turn != np.eye(2)).any():
        return True
    return not _was_laid(part, whole, np.rint(found[0]).astype(int) - REACH + (x, y) - left)


def _was_laid(part: Path, whole: Path, place: np.ndarray) -> bool:
    """Whether a whole is what saving the part gives, at a place (x, y) in it, and the part not what the whole gives."""
    start = -(-place // MCU) * MCU  # the first of the whole's blocks that shows the part
    try:
        laid = alike(corner_of(part, start - place), corner_of(whole, start))
        cut = alike(corner_of(whole, place), corner_of(part))
        return mostly(laid, cut)
    except Exception:  # decoders raise nearly everything on odd files
        return False
