"""Comparison at full resolution before a file may go. Input: a file, its keeper, their match. Output: why it must stay.

Confirmation compares small copies, in which a changed digit, or an object moved by its own width, can look like a trace
of compression. Here both are laid on each other at the resolution of the smaller one, up to 800 px and more.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from PIL import Image
from threadpoolctl import threadpool_limits

from dedup.clustering.quality import is_lossless
from dedup.dataset.decoding import load_image, load_with_size, open_header, read_on_black, shrink
from dedup.matching.classification import (
    CHANGED,
    FEW_TONES,
    GRAPHIC,
    SAME_TONE,
    SHARP_ALIKE,
    is_framed_alike,
    is_upright,
)
from dedup.matching.differences import (
    TEXTURED,
    has_other_look,
    local_mean,
    local_variance,
    lost_light,
    sharpness_ratio,
    soft_difference,
    worst_colour,
    worst_place,
)
from dedup.matching.kinds import MatchKind
from dedup.matching.pictures import Picture
from dedup.matching.registration import Frame, lay, refine
from dedup.workers import Lost, job, run_jobs

if TYPE_CHECKING:
    from dedup.matching.classification import Match

# Kinds of matches that are compared at full resolution before a file may go.
LOOKED_AT = (MatchKind.RESAVED, MatchKind.EDITED, MatchKind.CROP)
LOOK_SIDE, DRAWN_SIDE = 800, 1600  # longest side looked at in px, of photos and of drawings or pages
EDITED = 5.0  # how far a changed place stands out in pictures that were edited as a whole
SAME_SHADES, SAME_HUES = 6.0, 0.75  # in drawings and on plain ground: grey levels; how far a colour may stand out
ROUNDED_OFF = 2.0  # squared levels of a channel that rounding may add where nothing was compressed
UNTOUCHED = 0.1  # squared levels below which nearly all values of a place are the same
SAME_VALUES = 0.25  # share of the textured places that hold the same values
COLOURS_SIDE = 400  # px, long side of the copy in which colours are compared
WORTH_PROCESSES = 48  # pairs, from which processes of their own pay off
LOST_LIGHT = 0.04  # share of a picture that is burnt out or lost in black in another exposure
TOO_COARSE = "is too small or too blurred to tell what it shows"
NUMBERS = "has grey values of more than 8 bits that the kept file does not have"
OTHER_DRAWING = "is a drawing, or an article on plain ground, that is turned or toned otherwise in the kept file"
OTHER_EXPOSURE = "is exposed otherwise than the kept file: parts of one are burnt out or lost in black"
CHANGED_THERE = "shows at one place what the kept file does not"
ON_BLACK = "shows on black what the kept file does not"
SHARPER = "is sharper than the kept file"
BANDS = 0.7, 1.4, 2.8, 5.6  # px, sigmas that separate the bands of detail
MIDDLE = 320  # px, side of the middle part in which sharpness is measured
WEAKER = 1.17  # gain of fine detail / gain of coarse detail, from which the keeper is softer
FOUND = 0.83  # correlation of the finest detail, below which some of it is lost, not only weaker


class Look(NamedTuple):
    """A pair to compare. transform, kind : of the match; is_first : whether the member is the first in that"""

    member: Path
    keeper: Path
    transform: tuple[float, ...] | None
    is_first: bool
    kind: MatchKind


def is_looked_at(match: Match | None) -> bool:
    """Whether a file of this match goes only after a comparison at full resolution."""
    return bool(match and match.kind in LOOKED_AT)


def why_they_stay(jobs: Sequence[Look], num_workers: int) -> Iterator[str | Lost]:
    """Compare each member with its keeper; the reason why the member stays, "" if it may go."""
    cv2.setNumThreads(1)  # OpenCV's own threads do not survive a fork
    with threadpool_limits(1):
        yield from run_jobs(_why_it_stays, jobs, num_workers, few=WORTH_PROCESSES, inherits=True)


@job
def _why_it_stays(look: Look) -> str:
    member, keeper, transform, is_first, kind = look
    if not transform:
        raise ValueError("where it lies on its keeper is not known")
    to_keeper = np.reshape(transform, (3, 3))
    if is_deep(member):
        return NUMBERS
    if shows_too_little(member):
        return TOO_COARSE
    to_keeper = to_keeper if is_first else np.linalg.inv(to_keeper)
    if is_another_drawing(member, keeper, to_keeper):
        return OTHER_DRAWING
    if is_another_exposure(member, keeper, to_keeper):
        return OTHER_EXPOSURE
    if is_changed_without_loss(member, keeper, to_keeper, kind) or shows_another(member, keeper, to_keeper):
        return CHANGED_THERE
    if shows_another_on_black(member, keeper, to_keeper):
        return ON_BLACK
    return SHARPER if is_sharper(member, keeper, to_keeper) else ""


def is_deep(path: Path) -> bool:
    """Whether a file's greys have more than 8 bits: then they may be data that look the same and differ."""
    with open_header(path) as image:
        return image.mode[0] in "IF"


def shows_too_little(path: Path) -> bool:
    """Whether a picture is so coarse that another shot of the scene would look the same; may raise UnreadableImage."""
    return _read(path, LOOK_SIDE, path.stat().st_mtime_ns).coarse


def is_another_drawing(member: Path, keeper: Path, transform: np.ndarray) -> bool:
    """Whether a drawing, a sign or an article on plain ground is turned, mirrored or toned in one of two files.

    In photos these are edits. A drawing becomes another drawing by them, and an article in another shade is another
    article. A picture on transparent ground, such as an icon, counts as a drawing. A grey drawing may go for a coloured
    one of the same lightness.

    Parameters and errors as of `shows_another`.
    """
    laid = _lay(member, keeper, transform, LOOK_SIDE)
    if not laid.is_drawing:
        return False
    if not is_upright(transform) or laid.has_changed_place:
        return True
    return soft_difference(laid.as_matched)[0] > SAME_SHADES or laid.worst_colour > SAME_HUES


def is_another_exposure(member: Path, keeper: Path, transform: np.ndarray) -> bool:
    """Whether one file shows something where the other is burnt out or black; as `shows_another`."""
    laid = _lay(member, keeper, transform, LOOK_SIDE)
    if is_framed_alike(*laid.pictures, transform) and not has_other_look(*laid.pictures):
        return False
    return soft_difference(laid.as_matched)[1] > SAME_TONE and lost_light(laid.as_matched) > LOST_LIGHT


def is_changed_without_loss(member: Path, keeper: Path, transform: np.ndarray, kind: MatchKind) -> bool:
    """Whether two files of one size, both saved without loss, were made different, even by a faint mark.

    Drawings are the same in every pixel, or they differ. In a photo, earlier compression, fewer colours or another tone
    change values everywhere; so if some places hold the same values, the others were changed on purpose.

    Parameters and errors as of `shows_another`; kind : of the match.
    """
    laid = _lay(member, keeper, transform, LOOK_SIDE)
    first, second = laid.pictures
    if (first.width, first.height) != (second.width, second.height) or not is_framed_alike(first, second, transform):
        return False
    if not (kind == MatchKind.RESAVED or laid.is_drawing) or not all(map(is_lossless, (member, keeper))):
        return False
    own, kept = (np.asarray(load_image(path), np.float32) for path in (member, keeper))
    errors = local_mean(np.square(own - kept)).max(axis=-1)
    if errors.max() <= ROUNDED_OFF:
        return False
    shown = local_variance(kept).max(axis=-1) > TEXTURED
    return laid.is_drawing or (shown.any() and (errors[shown] < UNTOUCHED).mean() > SAME_VALUES)


def shows_another(member: Path, keeper: Path, transform: np.ndarray) -> bool:
    """Whether two files that were confirmed to show one picture differ at some place.

    Parameters
    ----------
    transform : (3, 3), unit coordinates of the member -> unit coordinates of the keeper

    Raises
    ------
    UnreadableImage : one of them can't be read any more
    """
    laid = _lay(member, keeper, transform, LOOK_SIDE)
    if min(picture.plain for picture in laid.pictures) >= GRAPHIC:
        laid = _lay(member, keeper, transform, DRAWN_SIDE)
    return laid.differs


def shows_another_on_black(member: Path, keeper: Path, transform: np.ndarray) -> bool:
    """Whether two transparent pictures differ on black, where white shows; as `shows_another`."""
    on_black = [read_on_black(path, LOOK_SIDE * 7 // 10) for path in (member, keeper)]
    if None in on_black:
        return False
    pictures = [_picture_of(image, image.size, LOOK_SIDE) for image in on_black]
    laid = _Laid((member, keeper), pictures, np.reshape(transform, (3, 3)))
    on_white = _lay(member, keeper, transform, LOOK_SIDE)
    has_other_tones = not on_white.is_toned and laid.is_toned
    return has_other_tones or laid.differs


def is_sharper(member: Path, keeper: Path, transform: np.ndarray) -> bool:
    """Whether the keeper was blurred, or made small and large again, and has lost detail that the member shows.

    If the keeper was blurred, its fine detail is weak beside its coarse detail, and the member's is a multiple of it.
    A sharpened member is so too, but then the keeper has all of its finest detail. Noise is not a multiple of anything.

    Parameters and errors as of `shows_another`.
    """
    laid = _lay(member, keeper, transform, LOOK_SIDE)
    own, kept = map(_energies, _bands(laid.as_matched))
    ratios = own / kept
    if max(ratios[1:-1]) <= WEAKER * ratios[-1]:  # by energy only, which needs no exact fit
        return False
    bands = _bands(laid.as_fits)
    own, kept = map(_energies, bands)
    products = np.array([float(np.vdot(*both)) for both in zip(*bands, strict=True)])
    gains, found = products / kept, products[0] / np.sqrt(own[0] * kept[0])
    return bool(max(gains[1:-1]) > WEAKER * max(gains[-1], 0.05) and found < FOUND)


@dataclass(frozen=True)
class _Laid:
    """A member and its keeper laid on each other. transform : from the member to the keeper, (3, 3)"""

    paths: tuple[Path, Path]
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
        """Laid again, more exactly: the match is exact only to a pixel of a small copy."""
        finer = refine(lay(*self.pictures, self.transform, min(self.side, LOOK_SIDE // 3)))
        return lay(*self.pictures, finer.first_to_second, self.side)

    @cached_property
    def is_drawing(self) -> bool:
        """Whether one is a drawing, a sign, or an article on plain ground or on nothing."""
        is_plain = any(picture.plain >= GRAPHIC or picture.drawn >= FEW_TONES for picture in self.pictures)
        return is_plain or any(map(_is_transparent, self.paths))

    @property
    def differs(self) -> bool:
        """Whether a place differs by more than edits of the whole picture explain."""
        if self.is_toned or not is_framed_alike(*self.pictures, self.transform):
            return worst_place(self.as_matched) > EDITED and worst_place(self.as_fits) > EDITED
        if self.worst_colour > 1:
            return True
        return self.has_changed_place

    @cached_property
    def has_changed_place(self) -> bool:
        """Whether a place differs by more than compression and another size explain."""
        return worst_place(self.as_matched) > CHANGED and worst_place(self.as_fits) > CHANGED

    @cached_property
    def is_toned(self) -> bool:
        """Whether one has other tones than the other, or is blurred or marked all over."""
        is_softer = sharpness_ratio(self.as_matched) > SHARP_ALIKE
        return is_softer or soft_difference(self.as_matched)[1] > SAME_TONE

    @cached_property
    def worst_colour(self) -> float:
        return worst_colour(*self.pictures, self.as_matched)


def _lay(member: Path, keeper: Path, transform: np.ndarray, most: int) -> _Laid:
    """Both with `most` px along their longest side; the last result is kept."""
    times = (path.stat().st_mtime_ns for path in (member, keeper))
    return _lay_files((member, keeper), tuple(times), tuple(np.ravel(transform).tolist()), most)


@lru_cache(maxsize=2)
def _lay_files(paths: tuple[Path, Path], times: tuple[int, int], transform: tuple[float, ...], most: int) -> _Laid:
    pictures = [_read(path, most, time) for path, time in zip(paths, times, strict=True)]
    return _Laid(paths, pictures, np.reshape(transform, (3, 3)))


def _is_transparent(path: Path) -> bool:
    with open_header(path) as image:
        return image.has_transparency_data


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


@lru_cache(maxsize=4)  # the keeper is read again with each of its members
def _read(path: Path, side: int, mtime_ns: int) -> Picture:
    """A file's picture; its `mtime_ns` is part of the cache's key, so that a change is noticed."""
    return _picture_of(*load_with_size(path, side * 7 // 10), side)


def _picture_of(image: Image.Image, size: tuple[int, int], side: int) -> Picture:
    return Picture(*size, shrink(image.convert("L"), side), shrink(image, COLOURS_SIDE), (0.0, 0.0, 1.0, 1.0))
