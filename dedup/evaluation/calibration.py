"""Epsilon for a wanted precision: the user's own pictures in, the epsilon and its curve out.

encoder, paths (n,)  ->  Calibration(epsilon, thresholds (k,), precision (k,), recall (k,))

Recall is measured on copies made of the pictures themselves, false matches on the nearest pairs of different pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dedup.evaluation.distinct import confirmer, distinct_pairs
from dedup.output import count_of

if TYPE_CHECKING:
    import torch

    from dedup.encoder.inference import Encoder
    from dedup.encoder.model import EncoderCNN

FEWEST = 30  # different pictures; the distances of fewer say too little
CURVE_POINTS = 400  # of the curve


class CalibrationError(ValueError):
    """No epsilon can be given; the message is one line with the reason."""


@dataclass(frozen=True)
class Calibration:
    """An epsilon and what it rests on.

    epsilon : the largest of `thresholds` at which the wanted precision is expected
    thresholds : (k,) cosine distances, rising from 0
    precision : (k,) expected share of true copies among the pairs within a threshold, before confirmation
    recall : (k,) share of the made copies within a threshold of their original
    copies : (m,) cosine distances of made copies to their originals
    others : (l,) cosine distances of the nearest pairs of different pictures, rising
    pictures : number of different pictures
    """

    epsilon: float
    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    copies: np.ndarray
    others: np.ndarray
    pictures: int


def calibrate_epsilon(
    encoder: Encoder | EncoderCNN,
    paths: Sequence[Path],
    precision: float = 0.99,
    *,
    duplicates: float = 0.1,
    folder_size: int | None = None,
    sample: int = 1000,
    copies: int = 1,
    strength: float = 1.0,
    seed: int = 0,
    image_resize: int | None = None,
    batch_size: int = 32,
    num_workers: int = 0,
    device: torch.device | None = None,
    progress: bool = True,
) -> Calibration:
    """Find the epsilon at which a wanted share of the candidate pairs are true copies.

    How many pairs are wrong grows with the square of the folder's size, how many are right only with the folder: so an
    epsilon holds for a size. The pictures are searched for the duplicates among them first; of those that geometry
    confirms one stays, so that what is left are different pictures. See `expected_precision` for the model.

    Parameters
    ----------
    paths : pictures of the folder, at least 30 different ones
    precision : wanted, before confirmation, in (0, 1)
    duplicates : share of the folder's files assumed to be a copy of another one
    folder_size : files of the folder the epsilon is for; None = as many as `paths`
    sample : files looked at, at most; drawn by chance
    copies : made of each of them
    strength : of the copies' edits; 1 is what the encoder is trained on, 0 leaves the pictures as they are
    seed : of the sample and the copies; the same seed gives the same epsilon
    image_resize, batch_size, num_workers, device, progress : as in `extract_embeddings`; device None = the fastest

    Raises
    ------
    CalibrationError : a parameter out of range, too few pictures, or a precision that no epsilon reaches
    """
    from dedup.encoder.embeddings import extract_embeddings
    from dedup.encoder.inference import at_work

    if not 0 < precision < 1:
        raise CalibrationError(f"the precision is a share between 0 and 1, as 0.99, got {precision:g}")
    if not 0 < duplicates <= 1:
        raise CalibrationError(f"duplicates is a share of the files, up to 1, got {duplicates:g}")
    encoder = at_work(encoder, device)
    about = encoder.about
    size = len(paths) if folder_size is None else folder_size
    chosen = np.sort(np.random.default_rng(seed).permutation(len(paths))[:sample])
    paths = [paths[row] for row in chosen]
    found = extract_embeddings(encoder, paths, image_resize, batch_size, num_workers, progress=progress)
    kept, others = distinct_pairs(found.vectors, confirmer(found.paths, num_workers, progress))
    if len(kept) < FEWEST:
        raise CalibrationError(f"calibration needs {FEWEST} different pictures or more, got {len(kept)}")
    pictures, side = [found.paths[row] for row in kept], image_resize or about.image_resize
    vectors = embed_copies(encoder, pictures, copies, strength, side, batch_size, seed, progress)
    distances = 1 - np.einsum("mcd,md->mc", vectors, found.vectors[kept]).ravel()  # (m copies,)
    thresholds = np.linspace(0, others[-1], CURVE_POINTS)
    recall = np.searchsorted(np.sort(distances), thresholds, side="right") / len(distances)
    pairs = size * (size - 1) / (len(kept) * (len(kept) - 1))  # of the folder, for each pair that was looked at
    expected = expected_precision(recall, thresholds, others, right=duplicates * size, scale=pairs)
    good = expected >= precision
    if not good.any():
        best = int(expected.argmax())
        raise CalibrationError(
            f"no epsilon reaches precision {precision:g} before confirmation; the best is {expected[best]:.3f}, "
            f"at epsilon {thresholds[best]:.4g}: ask for less, or go without: "
            f"the encoder's own is {about.epsilon:g}, or {about.strict_epsilon:g} where nothing is confirmed"
        )
    epsilon = float(thresholds[good][-1])
    return Calibration(epsilon, thresholds, expected, recall, distances, others, len(kept))


def expected_precision(
    recall: np.ndarray, thresholds: np.ndarray, others: np.ndarray, right: float, scale: float = 1.0
) -> np.ndarray:
    """Precision of the pairs within each threshold: found copies / (found copies + false matches).

    Found copies are recall x `right`. False matches are the larger of two counts, x `scale`: those seen in `others`,
    and an exponential tail through them (peaks over threshold; Pickands, Annals of Statistics 1975), because the few
    nearest pairs of a small folder are chance. The tail's steepness is that of the median pair, which some
    overlooked duplicates do not move.

    Parameters
    ----------
    recall, thresholds : (k,)
    others : (l,) distances of the nearest pairs of different pictures, rising; no threshold lies above the last
    right : pairs of copies in the folder
    """
    seen = np.searchsorted(others, thresholds, side="right")
    reach = others[-1]
    steepness = np.log(2) / max(float(np.median(reach - others)), 1e-6)
    tail = len(others) * np.exp(steepness * (thresholds - reach))
    found = recall * right
    return found / (found + scale * np.maximum(seen, tail))


def embed_copies(
    encoder: Encoder,
    paths: Sequence[Path],
    copies: int,
    strength: float,
    side: int,
    batch_size: int,
    seed: int,
    progress: bool = True,
) -> np.ndarray:
    """Edited copies of pictures as vectors, (n, copies, d) float32; collages take their other picture from `paths`."""
    from PIL import Image
    from tqdm import tqdm

    from dedup.dataset.copies import make_copy
    from dedup.dataset.images import load_image

    vectors = np.zeros((len(paths) * copies, encoder.about.embedding_size), np.float32)
    batch: list[np.ndarray] = []
    other = None
    for index, path in enumerate(tqdm((paths[-1], *paths), "Copying", unit=" images", disable=not progress)):
        image = load_image(path, 2 * side)
        image.thumbnail((3 * side, 3 * side), Image.Resampling.BILINEAR)
        image = np.asarray(image)
        if other is not None:
            rng = np.random.default_rng((seed, index))
            batch += [make_copy(image, other, side, rng, strength) for _ in range(copies)]
        other = image
        if len(batch) >= batch_size or index == len(paths):
            end = index * copies
            vectors[end - len(batch) : end] = encoder.encode(np.stack(batch))  # (batch, side, side, 3)
            batch = []
    return vectors.reshape(len(paths), copies, -1)


def describe(calibration: Calibration, wanted: float, duplicates: float = 0.1) -> Iterator[str]:
    """The curve as a table, and what the epsilon promises."""
    yield f"{len(calibration.copies):,} copies made of {count_of(calibration.pictures, 'different picture')}"
    yield "epsilon  precision  recall of the made copies"
    columns = calibration.thresholds, calibration.precision, calibration.recall
    levels = [level for level in (wanted, 0.999, 0.99, 0.95, 0.9, 0.8, 0.5) if (calibration.precision >= level).any()]
    for row in sorted({int(np.flatnonzero(calibration.precision >= level)[-1]) for level in levels}):
        epsilon, precision, recall = (column[row] for column in columns)
        yield f"{epsilon:7.4f}  {precision:9.3f}  {recall:6.3f}"
    assumed = f"if {duplicates:.0%} of the files are copies"
    yield f"epsilon {calibration.epsilon:.4f} has precision {wanted:g} before confirmation, {assumed}"
