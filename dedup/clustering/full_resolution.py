"""A last, closer look before a file may go: it, its keeper and their match in, whether it shows more out.

Confirmation compares small copies, on which an object moved by its own width, or another word on a page, can pass for
a trace of compression. Here both are laid on each other with four times as many pixels and more. Compression, blur and
tone change a picture evenly; what somebody changed by hand differs where it stands and nowhere else.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from dedup.dataset.decoding import load_with_size, one_line
from dedup.matching.kinds import MatchKind
from dedup.matching.pictures import COLOURS, Picture, shrink
from dedup.matching.warping import Frame, lay, refine
from dedup.workers import START_METHOD, Lost, run_jobs

if TYPE_CHECKING:
    from dedup.matching.classification import Match

# member, keeper, the match's transform, whether the member is its first
Job = tuple[Path, Path, tuple[float, ...], bool]

# Kinds of matches that are looked at before a file may go.
LOOKED_AT = (MatchKind.RESAVED, MatchKind.EDITED, MatchKind.CROP)
SIDE, DRAWN_SIDE = 800, 1600  # longest side looked at in px, of photos and of drawings or pages
DRAWN = 0.3  # share of one grey level from which a picture is a drawing or a page
WINDOW = 20  # px, of the places that are compared
NOISE = 36.0  # variance in squared grey levels that tells nothing
UNLIKE = 0.5  # correlation below which a place shows something else
SLACK = 0.1  # by how much less unlike a px may be to be looked around, and the share by which less may vary there
FAINT = 0.25  # variance there, as a share of the keeper's, below which it shows nothing: burnt out, painted over
MANY = 48  # pairs that are worth processes of their own
UNTOLD = "can't be looked at closely"
BANDS = 0.7, 1.4, 2.8, 5.6  # px, sigma, between which detail is taken apart
MIDDLE = 320  # px, side of the part that tells how sharp a picture is
WEAKER = 1.17  # gain of fine detail, as a multiple of that of coarse detail, from which one picture is softer
FOUND = 0.83  # correlation of the finest detail below which some of it is lost, not only weaker
LEAST = 0.3  # size of such a place, as a share of a window


def is_looked_at(match: Match | None) -> bool:
    """Whether a file of this match goes only after a last look."""
    return bool(match and match.kind in LOOKED_AT and match.transform)


def why_they_stay(jobs: Sequence[Job], num_workers: int) -> Iterator[str]:
    """Look at each member and its keeper; the reason why the member stays, "" if it may go."""
    cv2.setNumThreads(1)  # OpenCV's own threads do not survive a fork
    with threadpool_limits(1):
        for found in run_jobs(_why_it_stays, jobs, num_workers if START_METHOD == "fork" and len(jobs) >= MANY else 0):
            yield f"{UNTOLD}: {found.reason}" if isinstance(found, Lost) else found


def _why_it_stays(job: Job) -> str:
    member, keeper, transform, is_first = job
    to_keeper = np.reshape(transform, (3, 3))
    try:
        if shows_too_little(member):
            return "is too small or too blurred to tell what it shows"
        to_keeper = to_keeper if is_first else np.linalg.inv(to_keeper)
        if shows_more(member, keeper, to_keeper):
            return "shows at one place what the kept file does not"
        return "is sharper than the kept file" if is_sharper(member, keeper, to_keeper) else ""
    except Exception as error:  # a decoder's, or of a transform that lays nothing on anything
        return f"{UNTOLD}: {one_line(error)}"


def shows_too_little(path: Path) -> bool:
    """Whether a picture is so coarse that another shot of the thing would look the same; may raise UnreadableImage."""
    return _read(path, SIDE, path.stat().st_mtime_ns).coarse


def shows_more(member: Path, keeper: Path, transform: np.ndarray) -> bool:
    """Tell whether a file that was confirmed to be a copy shows at some place what its keeper does not show there.

    Parameters
    ----------
    transform : (3, 3), unit coordinates of the member -> unit coordinates of the keeper

    Raises
    ------
    UnreadableImage : one of them can't be read any more
    """
    laid = _lay(member, keeper, transform, SIDE)
    if min(picture.plain for picture in laid.pictures) >= DRAWN:
        laid = _lay(member, keeper, transform, DRAWN_SIDE)
    return _has_more(laid.as_matched) and _has_more(laid.as_fits)


def is_sharper(member: Path, keeper: Path, transform: np.ndarray) -> bool:
    """Tell whether the keeper was blurred, or made small and large again, and has lost detail that the member shows.

    Where the keeper's fine detail is weak beside its coarse detail, the member's is a multiple of it. A member that was
    sharpened is so as well, but all of its finest detail is found in the keeper. Noise is no multiple of anything.

    Parameters and errors as of `shows_more`.
    """
    laid = _lay(member, keeper, transform, SIDE)
    own, kept = map(_energies, _bands(laid.as_matched))
    ratios = own / kept
    if max(ratios[1:-1]) <= WEAKER * ratios[-1]:  # going by energy alone, which needs no exact fit
        return False
    bands = _bands(laid.as_fits)
    own, kept = map(_energies, bands)
    products = np.array([float(np.vdot(*both)) for both in zip(*bands, strict=True)])
    gains, found = products / kept, products[0] / np.sqrt(own[0] * kept[0])
    return bool(max(gains[1:-1]) > WEAKER * max(gains[-1], 0.05) and found < FOUND)


@dataclass(frozen=True)
class _Laid:
    """A member and its keeper, (2,) pictures, on each other; transform : from the one to the other, (3, 3)."""

    pictures: list[Picture]
    transform: np.ndarray

    @property
    def side(self) -> int:
        return min(max(picture.grey.shape) for picture in self.pictures)

    @cached_property
    def as_matched(self) -> Frame:
        return lay(*self.pictures, self.transform, self.side)

    @cached_property
    def as_fits(self) -> Frame:
        """Laid anew: the match is exact to a pixel of a small copy."""
        finer = refine(lay(*self.pictures, self.transform, min(self.side, SIDE // 3)))
        return lay(*self.pictures, finer.first_to_second, self.side)


def _lay(member: Path, keeper: Path, transform: np.ndarray, most: int) -> _Laid:
    """Both with `most` px along their longest side; what was laid last is there still."""
    times = (path.stat().st_mtime_ns for path in (member, keeper))
    return _lay_files((member, keeper), tuple(times), tuple(np.ravel(transform).tolist()), most)


@lru_cache(maxsize=2)
def _lay_files(paths: tuple[Path, Path], times: tuple[int, int], transform: tuple[float, ...], most: int) -> _Laid:
    pictures = [_read(path, most, time) for path, time in zip(paths, times, strict=True)]
    return _Laid(pictures, np.reshape(transform, (3, 3)))


def _bands(frame: Frame) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Detail of the first and of the second in the middle of a frame, from the finest to the coarsest of BANDS."""
    side = len(frame.base)
    start = max((side - MIDDLE) // 2, 0)
    middle = np.s_[start : start + MIDDLE, start : start + MIDDLE]
    found = []
    for image in (frame.base, frame.other) if frame.base_is_first else (frame.other, frame.base):
        soft = [image[middle].astype(np.float32)]
        soft += [cv2.GaussianBlur(soft[0], (0, 0), sigma) for sigma in BANDS]
        seen = frame.mask[middle]
        found.append([np.where(seen, fine - coarse, 0) for fine, coarse in itertools.pairwise(soft)])
    return found[0], found[1]


def _energies(bands: list[np.ndarray]) -> np.ndarray:
    return np.array([float(np.vdot(band, band)) + 1 for band in bands])


@lru_cache(maxsize=4)  # the keeper comes again with each of its members
def _read(path: Path, side: int, mtime_ns: int) -> Picture:
    """A file's picture; `mtime_ns`, its own, makes a change be seen."""
    image, (width, height) = load_with_size(path, side * 7 // 10)
    return Picture(width, height, shrink(image.convert("L"), side), shrink(image, COLOURS), (0.0, 0.0, 1.0, 1.0))


def _has_more(frame: Frame) -> bool:
    """Whether the first shows anything, at a place of some size, that does not correlate with the second."""
    edges = {"borderType": cv2.BORDER_CONSTANT, "borderValue": 0}
    mask = frame.mask.astype(np.uint8)
    inner = cv2.erode(mask, np.ones((2 * WINDOW + 1, 2 * WINDOW + 1), np.uint8), **edges)
    if not inner.any():
        return False
    images = _evenly_sharp(frame, mask) if frame.base_is_first else _evenly_sharp(frame, mask)[::-1]
    own, kept = (cv2.GaussianBlur(image, (0, 0), 1) for image in images)
    around = _where_unlike(own, kept, inner)
    if around is None:
        return False
    differs = _unlike(own[around], kept[around]) & (inner[around] > 0)
    if differs.sum() < LEAST * WINDOW**2:
        return False
    places = cv2.connectedComponentsWithStats(differs.astype(np.uint8))[2]
    return bool((places[1:, cv2.CC_STAT_AREA] >= LEAST * WINDOW**2).any())


def _where_unlike(own: np.ndarray, kept: np.ndarray, inner: np.ndarray) -> tuple[slice, slice] | None:
    """The part outside of which nothing is unlike, None if nothing is anywhere.

    Every second px of every second line is looked at: no place of LEAST of a window lies between them, unless it is a
    line one px wide.
    """
    found = _unlike(own, kept, step=2, slack=SLACK)
    found &= cv2.dilate(inner, np.ones((3, 3), np.uint8))[::2, ::2][: found.shape[0], : found.shape[1]] > 0
    if not found.any():
        return None
    lines = (np.flatnonzero(found.any(axis=axis)) for axis in (1, 0))
    return tuple(slice(max(2 * each[0] - WINDOW, 0), 2 * each[-1] + WINDOW) for each in lines)


def _unlike(own: np.ndarray, kept: np.ndarray, step: int = 1, slack: float = 0.0) -> np.ndarray:
    """Where pictures don't correlate in the window around a px, of every `step`th px, and the first shows something."""

    def means(image: np.ndarray) -> np.ndarray:
        if step > 1:
            height, width = (side // step * step for side in image.shape)
            image = cv2.resize(image[:height, :width], (width // step, height // step), interpolation=cv2.INTER_AREA)
        return cv2.blur(image, (WINDOW // step, WINDOW // step))

    mean, mean_kept = means(own), means(kept)
    spread = np.maximum(means(own * own) - mean * mean, 0) + NOISE
    spread_kept = np.maximum(means(kept * kept) - mean_kept * mean_kept, 0) + NOISE
    likeness = (means(own * kept) - mean * mean_kept + NOISE) / np.sqrt(spread * spread_kept)
    return (likeness < UNLIKE + slack) & (spread > FAINT * (1 - slack) * spread_kept)


def _evenly_sharp(frame: Frame, mask: np.ndarray) -> list[np.ndarray]:
    """Both pictures as float32, the sharper one blurred until it has as much fine detail in all as the other."""
    images = [image.astype(np.float32) for image in (frame.base, frame.other)]
    energies = [_detail(image, mask) for image in images]
    sharper, least = int(energies[1] > energies[0]), min(energies)
    if energies[sharper] > 1.2 * least:
        whole, gap = images[sharper], np.log(energies[sharper] / least)
        for sigma in (0.7, 1.1, 1.6, 2.2, 3, 4):  # detail falls from each to the next
            blurred = cv2.GaussianBlur(whole, (0, 0), sigma)
            wider, gap = gap, abs(np.log(_detail(blurred, mask) / least))
            if gap >= wider:
                break
            images[sharper] = blurred
    return images


def _detail(image: np.ndarray, mask: np.ndarray) -> float:
    """Mean energy of fine detail; mask : uint8, where it counts."""
    return cv2.norm(image, cv2.GaussianBlur(image, (0, 0), 2), cv2.NORM_L2SQR, mask) / cv2.countNonZero(mask) + 1e-3
