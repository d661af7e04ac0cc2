"""The training's task: pairs of copies, and the loss of their vectors.

photos n x (height, width, 3) uint8  ->  images (2 batch, 3, size, size) uint8  ->  vectors (2 batch, d)  ->  loss ()

After SSCD (Pizzi et al., CVPR 2022, section 4): copies of one photo are pulled together, all others pushed away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import Dataset

from dedup.dataset.copies import make_copy


class Batch(NamedTuple):
    """Which photos a training step sees, and how large."""

    step: int  # from 0
    size: int  # side of the copies in px
    indices: np.ndarray  # (batch,) of photos


def schedule_batches(
    photos: int, batch_size: int, epochs: int, sizes: Sequence[tuple[float, int]], seed: int
) -> list[Batch]:
    """Every photo once an epoch, in random order; photos left over for less than a batch wait for another epoch.

    Parameters
    ----------
    photos : how many there are
    sizes : (start, side): side in px from that share of all steps on; the first starts at 0

    Raises
    ------
    ValueError : batches of one photo, which have no other photos to compare with, or fewer photos than a batch
    """
    if not 2 <= batch_size <= photos:
        raise ValueError(f"batch_size is 2 to the number of photos, {photos}, got {batch_size}")
    rng, per_epoch = np.random.default_rng(seed), photos // batch_size
    orders = np.stack([rng.permutation(photos)[: per_epoch * batch_size] for _ in range(epochs)])
    rows = orders.reshape(epochs * per_epoch, batch_size)
    sides = [[side for start, side in sizes if step >= start * len(rows)][-1] for step in range(len(rows))]
    return [Batch(step, side, row) for step, (side, row) in enumerate(zip(sides, rows, strict=True))]


class CopiesDataset(Dataset):
    """A batch of photos as two edited copies each: (2 batch, 3, size, size) uint8, and the photos' indices (batch,).

    Row i and row i + batch are copies of one photo. They depend on seed, step and index alone, not on how many
    processes make them. Where processes are spawned, not forked, each of them holds the photos.
    """

    def __init__(self, photos: Sequence[np.ndarray], batches: Sequence[Batch], seed: int):
        self.photos, self.batches, self.seed = photos, batches, seed

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        step, size, indices = self.batches[position]
        views = np.empty((2, len(indices), size, size, 3), np.uint8)
        for row, index in enumerate(indices):
            rng = np.random.default_rng((self.seed, step, index))
            other = self.photos[rng.integers(len(self.photos))]
            strength = 0.3 if rng.random() < 0.35 else 1.0  # people's folders hold the original beside its copies
            views[0, row] = make_copy(self.photos[index], other, size, rng, strength)
            other = self.photos[rng.integers(len(self.photos))]
            views[1, row] = make_copy(self.photos[index], other, size, rng)
        images = torch.from_numpy(views.reshape(-1, size, size, 3)).permute(0, 3, 1, 2)  # (2 batch, 3, size, size)
        return images, torch.from_numpy(indices)


def contrastive_loss(
    vectors: torch.Tensor,
    photos: torch.Tensor,
    queue: torch.Tensor,
    queue_photos: torch.Tensor,
    temperature: float,
    entropy: float,
) -> torch.Tensor:
    """InfoNCE over copies, and the KoLeo term that spreads the rest (SSCD, equations 1 to 3).

    InfoNCE: each vector must find its copy among all vectors of other photos. It is the cross entropy of that choice,
    with cosines / temperature as logits. KoLeo: the mean log distance to the nearest vector of another photo.

    Parameters
    ----------
    vectors : (2 batch, d) unit norm; row i and row i + batch are copies of one photo
    photos : (2 batch,) which photo a row shows
    queue, queue_photos : (m, d) and (m,), from past batches and without gradient: more photos as negatives
    temperature : above 0; the lower, the more the nearest others count
    entropy : weight of the second term, 0 or more

    Returns
    -------
    () float32
    """
    n = len(vectors)
    similarity = vectors @ torch.cat([vectors, queue]).T  # (2 batch, 2 batch + m)
    same = photos[:, None] == torch.cat([photos, queue_photos])[None, :]
    negative = similarity.masked_fill(same, -torch.inf)
    rows = torch.arange(n, device=vectors.device)
    positive = similarity[rows, rows.roll(n // 2)]  # (2 batch,)
    logits = torch.cat([positive[:, None], negative], dim=1) / temperature
    info_nce = F.cross_entropy(logits, torch.zeros_like(rows))
    nearest = (2 - 2 * negative.max(dim=1).values).clamp(min=1e-6).sqrt()  # Euclidean, of unit vectors
    return info_nce - entropy * nearest.log().mean()
