"""The pictures of a folder: directory in, batches of square uint8 images out.

images_dir, extensions  ->  paths (n,), sorted  ->  images (batch, 3, S, S) uint8 RGB with indices (batch,)

What can't be read ends in `ImagesDataset.failures` with its reason, never the run.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from multiprocessing.sharedctypes import RawArray
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from dedup.decoding import MAX_BYTES, UnreadableImage, load_image, load_with_size
from dedup.panels import main_panel
from dedup.workers import Lost, run_jobs

__all__ = ["ImagesDataset", "UnreadableImage", "list_images", "load_image", "read_batches"]

TRASH = ".dedup-trash"
BATCHES_AHEAD = 2  # decoded while the encoder is at work
MEMORY_LIMIT = 4 * MAX_BYTES  # of a worker: a decoder's own buffers come on top of the picture


def list_images(images_dir: Path, extensions: Sequence[str]) -> list[Path]:
    """Find the regular files below a folder that have one of the extensions.

    Symbolic links, hidden files and folders (a leading dot), pipes, devices and all that lies in a trash folder of
    ours are left out; a subfolder that can't be opened is logged and left out.

    Parameters
    ----------
    images_dir : searched to any depth
    extensions : with their dot, compared in any case

    Returns
    -------
    images_dir / relative path, sorted. Names that are not UTF-8 keep their bytes (os.fsencode gives them back)

    Raises
    ------
    FileNotFoundError, NotADirectoryError, PermissionError : images_dir is not a folder that can be read
    """
    endings = tuple(extension.lower() for extension in extensions)
    if TRASH in Path(images_dir).absolute().parts:
        return []
    found, folders = [], [os.fspath(images_dir)]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            if folder == os.fspath(images_dir):
                raise
            logging.getLogger(__name__).warning("left out, can't be opened: %r (%s)", folder, error.strerror)
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.name.lower().endswith(endings) and entry.is_file(follow_symlinks=False):
                found.append(entry.path)
    return sorted(Path(path) for path in found)


class ImagesDataset(Dataset):
    """Pictures as squares: (3, S, S) uint8 RGB, and their index.

    The whole picture is squeezed into the square, so that a copy in other proportions looks the same.

    Attributes
    ----------
    paths : list of n Path
    image_resize : side S in px
    sizes : (n, 2) int, upright width and height in px of the file's picture, 0 until it has been read
    failures : reason by path, of what could not be read
    """

    def __init__(self, paths: Sequence[Path], image_resize: int):
        if image_resize < 1:
            raise ValueError(f"image_resize is a side in px, 1 or more, got {image_resize}")
        self.paths, self.image_resize = list(paths), image_resize
        self.sizes = np.zeros((len(self.paths), 2), int)
        self.failures: dict[Path, str] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Read one picture: (3, S, S) uint8, index. Raises UnreadableImage, and notes it in `failures`."""
        pixels = np.empty((1, self.image_resize, self.image_resize, 3), np.uint8)
        outcome, _ = _read_into(pixels, self.paths[index])
        if not self.note(index, outcome):
            raise UnreadableImage(outcome)
        return torch.from_numpy(pixels[0]).permute(2, 0, 1), index

    def note(self, index: int, outcome: tuple[int, int] | str | Lost) -> bool:
        """Keep the size of a picture that was read, or the reason why it was not; whether it was."""
        if isinstance(outcome, tuple):
            self.sizes[index] = outcome
            return True
        self.failures[self.paths[index]] = outcome.reason if isinstance(outcome, Lost) else outcome
        return False


def read_batches(
    dataset: ImagesDataset, batch_size: int, num_workers: int, panels: bool = False
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Read all pictures of a dataset, in order.

    Unreadable files go to `dataset.failures` and are missing from their batch; a batch without any picture is skipped.
    The batches do not depend on num_workers. With workers, a decoder that crashes or hangs costs its file alone.

    Parameters
    ----------
    batch_size : pictures a batch, 1 or more
    num_workers : processes that decode; 0 = this one
    panels : whether a picture on a plain page, as in a screenshot, is cut out too; it follows the whole, with its index

    Yields
    ------
    images (batch, 3, S, S) uint8, in channels_last order; indices (batch,) int64
    """
    if batch_size < 1 or num_workers < 0:
        raise ValueError(f"batch_size is 1 or more, num_workers 0 or more, got {batch_size} and {num_workers}")
    count, side = len(dataset), dataset.image_resize
    # Workers write into a ring that has room for the batch being put together beside those that are read ahead.
    slots = min(count, (BATCHES_AHEAD + 1) * batch_size)
    slots = math.ceil(slots / batch_size) * batch_size
    views = 2 if panels else 1
    ring = RawArray("B", max(1, slots * views * side * side * 3))
    pixels = _as_images(ring, views, side)  # (slots, views, S, S, 3)
    jobs = [(index % slots, path) for index, path in enumerate(dataset.paths)]
    ahead = BATCHES_AHEAD * batch_size
    outcomes = run_jobs(partial(_read_job, ring, views, side), jobs, num_workers, ahead, memory_limit=MEMORY_LIMIT)
    kept: list[tuple[int, int]] = []  # index, view
    with closing(outcomes):
        for index, outcome in enumerate(outcomes):
            size, filled = outcome if isinstance(outcome, tuple) else (outcome, 0)
            if dataset.note(index, size):
                kept += [(index, view) for view in range(filled)]
            if kept and ((index + 1) % batch_size == 0 or index + 1 == count):
                indices, which = np.array(kept).T  # (batch,) each
                images = torch.from_numpy(pixels[indices % slots, which])  # (batch, S, S, 3)
                yield images.permute(0, 3, 1, 2), torch.from_numpy(indices.copy())
                kept = []


def _as_images(ring, views: int, side: int) -> np.ndarray:
    slot = views * side * side * 3
    return np.frombuffer(ring, np.uint8)[: len(ring) // slot * slot].reshape(-1, views, side, side, 3)


def _read_job(ring, views: int, side: int, job: tuple[int, Path]) -> tuple[tuple[int, int] | str, int]:
    slot, path = job
    return _read_into(_as_images(ring, views, side)[slot], path)


def _read_into(pixels: np.ndarray, path: Path) -> tuple[tuple[int, int] | str, int]:
    """Fill (views, S, S, 3) uint8 with the picture and, where asked for and there, its panel.

    The picture's upright size in px or why it can't be read; how many views were filled.
    """
    side = pixels.shape[1]
    try:
        image, size = load_with_size(path, side)
    except UnreadableImage as error:
        return str(error), 0
    pixels[0] = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))
    panel = main_panel(np.asarray(image)) if len(pixels) > 1 else None
    if panel is None:
        return size, 1
    pixels[1] = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=panel))
    return size, 2
