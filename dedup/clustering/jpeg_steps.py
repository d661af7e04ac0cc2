"""Steps: where a picture's coefficients lie in the steps of a JPEG's; two decoded pictures in, which came first out.

What was made from a JPEG still lies in the middle of its steps, if it was turned or toned since as well; what a JPEG
was made from lies anywhere in them, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dedup.clustering.jpeg_forensics import (
    ALIKE,
    LEAST_BLOCKS,
    LEAST_OF_BLOCK,
    LOWEST,
    ROUNDED,
    SIDE,
    Plane,
    blocks_with,
    coefficients,
    is_recoloured,
    of_blocks,
)
from dedup.clustering.quality import STRONG, ZIGZAG, mean_step
from dedup.matching.classification import WHOLE

COARSE = 4.0  # least step that tells where in it a coefficient was
INNER, BEYOND = 0.55, 0.2  # share of coefficients in the inner half of their step, and outside, if they were rounded
GAIN = 0.08  # change of contrast that saving again does not explain
SURELY = 0.1  # share of them outside up to which that is sure
FINER = 0.6  # steps of an edit, as a share of the other's, that leave those to be seen
EDIT_INNER = 0.7  # share of coefficients in the inner half from which it is one; of what came first it is 0.5 or less
LEVELS = 40  # effective number of grey levels that a photo has, and a drawing seldom


def in_steps(grey: np.ndarray, other: np.ndarray, cut_off: np.ndarray, table: np.ndarray) -> tuple[float, ...] | None:
    """Where the coefficients of another picture are in the steps of a JPEG: the shares in the inner half, and outside.

    Those that the JPEG's were rounded from are anywhere in a step, half of them in its inner half, and none outside.
    None where that can't be told.
    """
    first, second = coefficients(grey, LOWEST), coefficients(other, LOWEST)
    kept, inner, beyond = np.zeros((3, first.shape[0] * first.shape[2]))
    for place in (place for place in ZIGZAG if table[place] >= COARSE):
        step, before = table[place], of_blocks(first, place)
        here, away = np.abs(before) > step / 2, np.abs(of_blocks(second, place) - before)
        kept += here
        inner += here & (away < step / 4)
        beyond += here & (away > (step + ROUNDED) / 2)
    told = (kept >= LEAST_OF_BLOCK) & ~blocks_with(cut_off)
    if told.sum() < LEAST_BLOCKS:
        return None
    shares = np.sort([values[told] / kept[told] for values in (inner, beyond)], axis=1)
    fourth = shares.shape[1] // 4
    return tuple(shares[:, fourth:-fourth].mean(axis=1).tolist())  # some blocks show something else


def by_steps(copy: Plane, source: Plane) -> str:
    """`traces.how_made` of a file without steps of its own and a JPEG, whose steps tell where in them the other is.

    The JPEG was saved from it if it is anywhere in the steps. Otherwise it was saved from the JPEG, finer or coarser.
    """
    window = np.s_[:SIDE, :SIDE]
    shares = in_steps(source.grey[window], copy.grey[window], source.cut_off[window], source.table)
    if shares is None or is_recoloured(copy, source) or abs(_gain(copy, source) - 1) > GAIN:
        return ""
    inner, beyond = shares
    if inner > INNER or beyond > BEYOND:
        return "saved again"
    return "compressed" if beyond <= SURELY else ""


def _gain(copy: Plane, source: Plane) -> float:
    """How much contrast a copy has for its source's, in the median of the lower frequencies."""
    before, after = (np.abs(coefficients(each.grey[:SIDE, :SIDE], LOWEST)) for each in (source, copy))
    gains = [
        of_blocks(after, place)[here] / of_blocks(before, place)[here]
        for place in ZIGZAG
        if (here := of_blocks(before, place) > 2 * max(source.table[place], COARSE)).any()
    ]
    return float(np.median(np.concatenate(gains))) if gains else 1.0


def is_edited_from(copy: Plane, source: Plane, place: Sequence[float] = WHOLE) -> bool:
    """Whether a file was made from a JPEG by turning, mirroring or toning it, and saved finer.

    Not said of strongly compressed sources, nor of pictures of few levels: a tone is found that lays these anywhere.

    place : homography, row by row, that turns the source's unit square to the copy's; see `is_turned`
    """
    grey, step = _turned(copy.grey, place), mean_step(source.table)
    if grey.shape != source.grey.shape or mean_step(copy.table) > FINER * step or step >= STRONG:
        return False
    window = np.s_[:SIDE, :SIDE]
    grey, there = grey[window], source.grey[window]
    if min(map(_levels, (grey, there))) < LEVELS:
        return False
    shares = in_steps(there, _toned(grey, there), source.cut_off[window], source.table)
    return shares is not None and shares[0] >= EDIT_INNER


def is_turned(transform: Sequence[float]) -> bool:
    """Whether a transform does no more than turn the unit square by quarters and mirror it, or leaves it as it is."""
    found = np.reshape(transform, (3, 3))
    turn = np.round(found)
    return bool(np.abs(found - turn).max() < ALIKE and round(abs(np.linalg.det(turn[:2, :2]))) == 1)


def _turned(grey: np.ndarray, place: Sequence[float]) -> np.ndarray:
    """A picture (h, w), seen as the one is that `place` leads from."""
    (across, down_across), (across_down, down) = np.round(np.reshape(place, (3, 3)))[:2, :2]
    if not across:  # sides change places
        grey, across, down = grey.T, across_down, down_across
    return grey[:: int(down), :: int(across)]


def _levels(grey: np.ndarray) -> float:
    """Effective number of grey levels of a picture."""
    shares = np.bincount(grey.ravel(), minlength=256) / grey.size
    return float(1 / np.square(shares).sum())


def _toned(grey: np.ndarray, like: np.ndarray) -> np.ndarray:
    """(h, w) float64, a picture whose levels are what those of another one are there on average."""
    counts = np.bincount(grey.ravel(), minlength=256)
    sums = np.bincount(grey.ravel(), weights=like.ravel(), minlength=256)
    found = np.flatnonzero(counts)
    return np.interp(np.arange(256), found, sums[found] / counts[found])[grey]
