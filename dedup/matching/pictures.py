"""What confirmation needs of one picture: a small copy, its content box, its keypoints.

file  ->  Picture(grey, colours, box), small; its squares and keypoints are found when first asked for
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from dedup.dataset.decoding import broken_tells_nothing, open_header, shrink
from dedup.dataset.panels import panels

COLOURS = 96  # long side of the small colour copy in px
COARSE, LOST = 24, 0.075  # px, long side that shows all of a coarse picture; share of contrast that it may lose
KEYPOINTS, KEYPOINT_SIDE = 400, 192  # how many, and the long side in px of the copy that they are found on
STRIPED = 24  # grey levels, range along a line up to which it counts as one level
BLOCK = 8  # px, side of a JPEG's blocks, by which its tables are scaled
PLAIN_LINE, FEW_LINES = 0.98, 8  # share of a margin's line in the margin's colour; more lines than most margins have
GRID = 32  # side of the squeezed squares that are compared first

Box = tuple[float, float, float, float]

_local = threading.local()  # OpenCV's detector is not safe to share between threads


@dataclass(frozen=True)
class Keypoints:
    """Where a picture's SIFT keypoints are and what they look like.

    points : (k, 2) float32, unit coordinates
    roots : (k, 128) uint8, square roots of the descriptors (RootSIFT; Arandjelovic and Zisserman, CVPR 2012)
    """

    points: np.ndarray
    roots: np.ndarray

    @cached_property
    def descriptors(self) -> np.ndarray:
        """(k, 128) float32, unit norm."""
        roots = self.roots.astype(np.float32)
        return roots / np.maximum(np.linalg.norm(roots, axis=1, keepdims=True), 1e-6)

    @cached_property
    def mirrored(self) -> np.ndarray:
        """(k, 128) descriptors of the mirrored picture: 4 rows turned over, 8 directions reversed."""
        return self.descriptors.reshape(-1, 4, 4, 8)[:, ::-1][..., -np.arange(8) % 8].reshape(-1, 128)


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as confirmation sees it.

    width, height : of the file, upright, in px
    grey : (h, w) uint8, long side THUMBNAIL px or less
    colours : (h, w, 3) uint8 RGB, long side COLOURS px or less
    box : (left, top, right, bottom) in unit coordinates: the picture without its plain margins
    panels : boxes of pictures that it shows, as a screenshot or collage does
    steps : levels to which a JPEG rounds the mean brightness and the mean colour of a block; 0 where unknown
    """

    width: int
    height: int
    grey: np.ndarray = field(repr=False)
    colours: np.ndarray = field(repr=False)
    box: Box
    panels: tuple[Box, ...] = ()
    steps: tuple[float, float] = (0.0, 0.0)

    @property
    def views(self) -> tuple[Box, ...]:
        """Boxes that may be another picture: all of it, its content, its panels."""
        return (0.0, 0.0, 1.0, 1.0), self.box, *self.panels

    @cached_property
    def plain(self) -> float:
        """Share of the picture with its commonest grey level, give or take one: high in drawings, text, cut-outs."""
        counts = np.bincount(self.grey.ravel(), minlength=256)
        return float(np.convolve(counts, np.ones(3), "same").max() / counts.sum())

    @cached_property
    def drawn(self) -> float:
        """Share of the picture that has nearly one of its four commonest grey levels: most of a page or a chart."""
        counts, taken = np.bincount(self.grey.ravel(), minlength=256), 0
        for _ in range(4):
            level = int(np.convolve(counts, np.ones(9), "same").argmax())
            taken += counts[max(0, level - 4) : level + 5].sum()
            counts[max(0, level - 8) : level + 9] = 0
        return float(taken / self.grey.size)

    @cached_property
    def striped(self) -> bool:
        """Whether it changes along one axis only, as stripes and gradients do: then another picture may look alike."""
        return min(int(np.ptp(self.grey, axis=axis).max()) for axis in (0, 1)) <= STRIPED

    @cached_property
    def coarse(self) -> bool:
        """Whether COARSE px show all that can be seen in it: it is tiny, or blurred to nothing."""
        small = shrink(cv2.cvtColor(self.colours, cv2.COLOR_RGB2GRAY), 2 * COARSE).astype(np.float32)
        again = cv2.resize(shrink(small, COARSE), small.shape[::-1], interpolation=cv2.INTER_CUBIC)
        return bool((small - again).std() <= LOST * (small.std() + 1))

    @cached_property
    def squares(self) -> np.ndarray:
        """(k, GRID * GRID) float16, zero mean and unit norm: each of its views, squeezed to a square."""
        h, w = self.grey.shape
        boxes = np.round(np.multiply(self.views, (w, h, w, h))).astype(int)  # (k, 4)
        parts = [self.grey[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] for x0, y0, x1, y1 in boxes]
        squares = np.stack([cv2.resize(part, (GRID, GRID), interpolation=cv2.INTER_AREA).ravel() for part in parts])
        squares = squares.astype(np.float32) - squares.mean(axis=1, keepdims=True)
        return (squares / np.maximum(np.linalg.norm(squares, axis=1, keepdims=True), 1e-6)).astype(np.float16)

    @cached_property
    def keypoints(self) -> Keypoints:
        if not hasattr(_local, "sift"):
            _local.sift = cv2.SIFT_create(KEYPOINTS, nOctaveLayers=3, contrastThreshold=0.03)
        small = shrink(self.grey, KEYPOINT_SIDE)
        found, descriptors = _local.sift.detectAndCompute(small, None)
        if not found:
            return Keypoints(np.empty((0, 2), np.float32), np.empty((0, 128), np.uint8))
        h, w = small.shape
        points = np.float32([point.pt for point in found]) / np.float32([w, h])
        shares = descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6)
        return Keypoints(points, np.minimum(np.round(np.sqrt(shares) * 400), 255).astype(np.uint8))


def rounding_steps(path: Path) -> tuple[float, float]:
    """Levels to which a JPEG rounds the mean brightness and the mean colour of a block; 0 for other files."""
    with broken_tells_nothing(), open_header(path) as image:
        tables = [image.quantization[key] for key in sorted(image.quantization)]
        return tables[0][0] / BLOCK, tables[-1][0] / BLOCK
    return 0.0, 0.0


def picture_of(small: np.ndarray, size: tuple[int, int], steps: tuple[float, float] = (0.0, 0.0)) -> Picture:
    """The Picture of what `read_small` returned."""
    width, height = size
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    unit = np.array(grey.shape * 2)[[1, 0, 1, 0]]
    boxes = tuple(tuple(map(float, panel / unit)) for panel in np.reshape(panels(small), (-1, 4)))
    return Picture(width, height, grey, shrink(small, COLOURS), content_box(small), boxes, steps)


def content_box(image: np.ndarray, tolerance: int = 14) -> tuple[float, float, float, float]:
    """The part of a picture within its plain margins.

    Parameters
    ----------
    image : (height, width, 3) uint8
    tolerance : largest difference to the margin's colour, in grey levels, on 98 of 100 pixels of a line

    Returns
    -------
    (left, top, right, bottom) in unit coordinates; the whole picture if nothing but margin would be cut
    """
    height, width = image.shape[:2]
    whole = 0.0, 0.0, 1.0, 1.0
    top, bottom = _margins(image, tolerance)
    if top + bottom >= height:
        return whole
    left, right = _margins(image[top : height - bottom].transpose(1, 0, 2), tolerance)
    if left + right >= width:
        return whole
    if left + right:  # bars at the sides can hide plain lines above and below
        top, bottom = _margins(image[:, left : width - right], tolerance)
        if top + bottom >= height:  # only bars and a plain middle
            return whole
    return left / width, top / height, 1 - right / width, 1 - bottom / height


def _margins(lines: np.ndarray, tolerance: int) -> tuple[int, int]:
    """How many of the first lines, and of the last, are plain margin."""
    return _margin(lines, tolerance), _margin(lines[::-1], tolerance)


def _margin(lines: np.ndarray, tolerance: int) -> int:
    """How many of the first lines (n, length, 3) have the colour of the first."""
    colour = np.sort(lines[0], axis=0)[lines.shape[1] // 2].astype(int)  # its median, found faster
    for some in (lines[:FEW_LINES], lines):
        near = cv2.inRange(np.ascontiguousarray(some), colour - tolerance, colour + tolerance)
        is_plain = near.mean(axis=1) >= PLAIN_LINE * 255
        if not is_plain.all():
            return int(is_plain.argmin())
    return len(lines)
