"""Embeddings: image files in, one unit vector a readable file out.

paths (n,)  ->  Embeddings: paths (m,), vectors (m, d) float32 of unit norm, sizes (m, 2) in px, and n - m failures
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from dedup.dataset import ImagesDataset, read_batches
from dedup.model import EncoderCNN


@dataclass(frozen=True)
class Embeddings:
    """What the encoder saw; row i of `vectors` and `sizes` belongs to paths[i].

    paths : the files that could be read, in the order they were given
    vectors : (n, d) float32, unit norm
    sizes : (n, 2) int, width and height in px of the upright picture
    failures : the other files, each with its reason
    panels : (m, d) float32, unit norm: pictures shown within a picture: on a screenshot's page, in a collage
    panel_rows : (m,) int, rows of the files that show them
    """

    paths: list[Path]
    vectors: np.ndarray
    sizes: np.ndarray
    failures: dict[Path, str]
    panels: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    panel_rows: np.ndarray = field(default_factory=lambda: np.empty(0, int))


def extract_embeddings(
    encoder: EncoderCNN,
    paths: Sequence[Path],
    image_resize: int | None,
    batch_size: int,
    num_workers: int,
    device: torch.device,
    progress: bool = True,
) -> Embeddings:
    """Read and embed every file that can be read; the others are named in `failures`.

    Parameters
    ----------
    encoder : is moved to `device` and put in eval mode
    image_resize : side in px of the square the encoder sees; None = the encoder's own
    batch_size : images at a time, >= 1
    num_workers : processes that read; 0 reads in this one
    progress : show a bar on stderr, with images a second
    """
    dataset = ImagesDataset(paths, encoder.image_resize if image_resize is None else image_resize)
    encoder = encoder.to(device).eval()
    vectors = np.zeros((len(paths), encoder.embedding_size), np.float32)
    seen = np.zeros(len(paths), bool)
    panels, owners = [np.empty((0, encoder.embedding_size), np.float32)], [np.empty(0, int)]
    bar = tqdm(total=len(paths), desc="Embedding", unit=" images", disable=not progress)
    with bar, torch.inference_mode(), _fast_arithmetic(device):
        for images, indices in read_batches(dataset, batch_size, num_workers, with_panels=True):
            found, rows = encoder(images.to(device)).cpu().numpy(), indices.numpy()  # (batch, d), (batch,)
            panel = np.r_[False, rows[1:] == rows[:-1]]  # these come right after their picture
            vectors[rows[~panel]] = found[~panel]
            seen[rows] = True
            panels.append(found[panel])
            owners.append(rows[panel])
            bar.update(int(seen.sum()) + len(dataset.failures) - bar.n)
        bar.update(len(paths) - bar.n)
    kept = np.flatnonzero(seen)
    failures = {path: dataset.failures[path] for path in paths if path in dataset.failures}
    panel_rows = np.searchsorted(kept, np.concatenate(owners))  # among the files that could be read
    sizes = np.asarray(dataset.sizes)[kept]
    return Embeddings([paths[i] for i in kept], vectors[kept], sizes, failures, np.concatenate(panels), panel_rows)


def _fast_arithmetic(device: torch.device) -> AbstractContextManager:
    """bfloat16 in the trunk where the hardware computes it; moves cosine distances by about 1e-5."""
    fast = False
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        fast = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()  # not public: absent means no
    return torch.autocast(device.type, torch.bfloat16) if fast else nullcontext()
