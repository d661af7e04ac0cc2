"""Epsilon for a wanted precision. Input: the user's own pictures. Output: the epsilon and its curve.

encoder, paths (n,)  ->  Calibration(epsilon, thresholds (k,), precision (k,), recall (k,))

Recall is measured on copies made of the pictures themselves, false matches on the nearest pairs of different pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dedup.matching.kinds import MatchKind
from dedup.output import count_of

if TYPE_CHECKING:
    from dedup.encoder.inference import Encoder

FEWEST = 30  # different pictures; with fewer, their distances say too little
SAMPLE = 1000  # files used, at most; drawn at random
SEED = 0  # of the sample and of the copies: the same folder gives the same epsilon
DUPLICATES = 0.1  # share of a folder's files taken to be a copy of another one
CURVE_POINTS = 400  # of the curve
Confirm = Callable[[list[tuple[int, int, float]]], list[tuple[int, int]]]  # nearest pairs -> those that are copies


class CalibrationError(ValueError):
    """No epsilon can be given; the message is one line with the reason."""


@dataclass(frozen=True)
class Calibration:
    """An epsilon and the figures it is based on.

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
    encoder: Encoder,
    paths: Sequence[Path],
    precision: float = 0.99,
    *,
    image_resize: int | None = None,
    batch_size: int = 32,
    num_workers: int = 0,
    progress: bool = True,
) -> Calibration:
    """Find the epsilon at which a wanted share of the candidate pairs are true copies.

    The number of wrong pairs grows with the square of the folder's size, that of right pairs only with its size: so an
    epsilon is for a size. First duplicates among the pictures are searched and confirmed by geometry, and only one of
    each is used, so that different pictures are left. See `expected_precision` for the model.

    Parameters
    ----------
    paths : pictures of the folder, at least 30 different ones
    precision : wanted, before confirmation, in (0, 1)
    image_resize, batch_size, num_workers, progress : as in `extract_embeddings`

    Raises
    ------
    CalibrationError : a parameter out of range, too few pictures, or a precision that no epsilon reaches
    """
    from dedup.encoder.embeddings import extract_embeddings

    if not 0 < precision < 1:
        raise CalibrationError(f"the precision is a share between 0 and 1, as 0.99, got {precision:g}")
    about, size = encoder.about, len(paths)
    chosen = np.sort(np.random.default_rng(SEED).permutation(size)[:SAMPLE])
    paths = [paths[row] for row in chosen]
    found = extract_embeddings(encoder, paths, image_resize, batch_size, num_workers, progress=progress)
    kept, others = distinct_pairs(found.vectors, confirmer(found.paths, num_workers, progress))
    if len(kept) < FEWEST:
        raise CalibrationError(f"calibration needs {FEWEST} different pictures or more, got {len(kept)}")
    pictures, side = [found.paths[row] for row in kept], image_resize or about.image_resize
    vectors = _embed_copies(encoder, pictures, side, batch_size, progress)
    distances = 1 - np.einsum("md,md->m", vectors, found.vectors[kept])  # (m,)
    thresholds = np.linspace(0, others[-1], CURVE_POINTS)
    recall = np.searchsorted(np.sort(distances), thresholds, side="right") / len(distances)
    pairs = size * (size - 1) / (len(kept) * (len(kept) - 1))  # pairs of the folder for each pair that was compared
    expected = expected_precision(recall, thresholds, others, right=DUPLICATES * size, scale=pairs)
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


def nearest_pairs(vectors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The `count` nearest of all pairs: rows i < j and cosine distances, rising; at equal distance the first rows."""
    i, j = np.triu_indices(len(vectors), 1)
    distances = (1 - vectors @ vectors.T)[i, j].clip(0)
    nearest = np.argsort(distances, kind="stable")[:count]
    return i[nearest], j[nearest], distances[nearest]


def distinct_pairs(vectors: np.ndarray, confirm: Confirm) -> tuple[np.ndarray, np.ndarray]:
    """Keep one file of each picture; its rows (m,), and the distances of their m nearest pairs, rising.

    confirm : which of some pairs (i, j, distance) are copies; called again until the nearest pairs have none
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    kept = np.arange(len(vectors))
    while True:
        i, j, distances = nearest_pairs(vectors[kept], len(kept))
        copies = confirm([(int(kept[a]), int(kept[b]), float(d)) for a, b, d in zip(i, j, distances, strict=True)])
        if not copies:
            return kept, distances
        first, second = np.array(copies).T
        graph = coo_matrix((np.ones(len(copies)), (first, second)), shape=(len(vectors),) * 2)
        labels = connected_components(graph, directed=False)[1]
        kept = kept[np.unique(labels[kept], return_index=True)[1]]


def confirmer(paths: list[Path], num_workers: int, progress: bool) -> Confirm:
    """A function that says which pairs show one picture, or a part of it, by geometry."""
    from dedup.matching.confirmation import Verifier

    verifier = Verifier(paths, num_workers, progress)

    def confirm(pairs: list[tuple[int, int, float]]) -> list[tuple[int, int]]:
        verifier.match_many(pairs)
        matches = ((i, j, verifier.match(i, j, distance)) for i, j, distance in pairs)
        return [(i, j) for i, j, match in matches if match is not None and match.kind is not MatchKind.SIMILAR]

    return confirm


def expected_precision(
    recall: np.ndarray, thresholds: np.ndarray, others: np.ndarray, right: float, scale: float = 1.0
) -> np.ndarray:
    """Precision of the pairs within each threshold: found copies / (found copies + false matches).

    Found copies are recall x `right`. False matches are the larger of two counts, x `scale`: those seen in `others`,
    and an exponential tail through them (peaks over threshold; Pickands, Annals of Statistics 1975), because the few
    nearest pairs of a small folder are random. The tail's steepness is taken at the median pair, so that a few
    overlooked duplicates do not change it.

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


def _embed_copies(encoder: Encoder, paths: Sequence[Path], side: int, batch_size: int, progress: bool) -> np.ndarray:
    """An edited copy of each picture as a vector, (n, d) float32; collages take their other picture from `paths`."""
    from PIL import Image
    from tqdm import tqdm

    from dedup.dataset.copies import make_copy
    from dedup.dataset.decoding import load_image

    def read(path: Path) -> np.ndarray:
        image = load_image(path, 2 * side)
        image.thumbnail((3 * side, 3 * side), Image.Resampling.BILINEAR)
        return np.asarray(image)

    vectors, batch, other = [], [], read(paths[-1])
    for index, path in enumerate(tqdm(paths, "Copying", unit=" images", disable=not progress), start=1):
        image = read(path)
        batch.append(make_copy(image, other, side, np.random.default_rng((SEED, index))))
        other = image
        if len(batch) == batch_size or index == len(paths):
            vectors.append(encoder.encode(np.stack(batch)))  # (batch, side, side, 3)
            batch = []
    return np.concatenate(vectors)


def describe(calibration: Calibration, wanted: float) -> Iterator[str]:
    """The curve as a table, and what to expect of the epsilon."""
    yield f"{len(calibration.copies):,} copies made of {count_of(calibration.pictures, 'different picture')}"
    yield "epsilon  precision  recall of the made copies"
    columns = calibration.thresholds, calibration.precision, calibration.recall
    levels = [level for level in (wanted, 0.999, 0.99, 0.95, 0.9, 0.8, 0.5) if (calibration.precision >= level).any()]
    for row in sorted({int(np.flatnonzero(calibration.precision >= level)[-1]) for level in levels}):
        epsilon, precision, recall = (column[row] for column in columns)
        yield f"{epsilon:7.4f}  {precision:9.3f}  {recall:6.3f}"
    assumed = f"if {DUPLICATES:.0%} of the files are copies"
    yield f"epsilon {calibration.epsilon:.4f} has precision {wanted:g} before confirmation, {assumed}"
