"""The pictures of a folder. Input: a directory. Output: batches of square uint8 images.

images_dir, extensions  ->  paths (n,), sorted  ->  images (batch, 3, S, S) uint8 RGB with indices (batch,)

What can't be read ends in `ImagesDataset.failures` with its reason, never the run.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dedup.dataset.decoding import UnreadableImage
from dedup.dataset.folder_rules import TRASH
from dedup.dataset.reading import Outcome, read_ahead, read_picture

if TYPE_CHECKING:
    import torch

OF_OTHER_PROGRAMS = re.compile(  # folders in which photo programs and servers keep their own files
    r".+\.(photoslibrary|migratedphotolibrary|photolibrary|aplibrary|lrdata|lrlibrary|cocatalog|photoboothlibrary)"
    r"|@eadir|\.picasaoriginals|\.thumbnails|\.?@__thumb|\.xvpics|appdata_oc\w+",
    re.IGNORECASE,
)


def is_of_other_programs(folder: str) -> bool:
    """Whether a folder of this name holds what belongs to another program: its library, previews or thumbnails."""
    return OF_OTHER_PROGRAMS.fullmatch(folder) is not None


def list_images(
    images_dir: Path,
    extensions: Sequence[str],
    exclude: Sequence[str] = (),
    others: list[Path] | None = None,
    passed_over: list[Path] | None = None,
) -> list[Path]:
    """Find the regular files below a folder that have one of the extensions.

    Symbolic links, hidden files and folders (a leading dot), pipes, devices, all that lies in a trash folder of ours
    and the folders of other programs are left out. A subfolder that can't be opened is left out and logged, and so is
    a pattern that fits nothing.

    Parameters
    ----------
    extensions : with their dot, compared in any case
    exclude : fnmatch patterns of paths relative to images_dir, `/` between names; a folder's contents are left out too
    others, passed_over : are filled with the regular files of other extensions, and the folders of other programs

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
    found, folders, foreign, unused = [], [os.fspath(images_dir)], [], list(exclude)
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
            if exclude and (fitting := _fitting(os.path.relpath(entry.path, images_dir), exclude)):
                unused = [pattern for pattern in unused if pattern not in fitting]
                continue
            if is_of_other_programs(entry.name) and entry.is_dir(follow_symlinks=False):
                foreign.append(Path(entry.path))
            elif entry.name.startswith("."):
                continue
            elif entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.is_file(follow_symlinks=False):
                if entry.name.lower().endswith(endings):
                    found.append(entry.path)
                elif others is not None:
                    others.append(Path(entry.path))
    if unused:
        logging.getLogger(__name__).warning("exclude: no file or folder matches %s", ", ".join(map(repr, unused)))
    if passed_over is not None:
        passed_over += sorted(foreign)
    return sorted(Path(path) for path in found)


def _fitting(path: str, exclude: Sequence[str]) -> list[str]:
    return [pattern for pattern in exclude if fnmatchcase(path.replace(os.sep, "/"), pattern.rstrip("/"))]


class ImagesDataset:
    """Pictures as squares, (3, S, S) uint8 RGB, and their index: a map-style dataset, as torch's DataLoader takes it.

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
        import torch

        outcome = read_picture(self.paths[index], self.image_resize)
        self.note(index, outcome)
        if outcome.reason:
            raise UnreadableImage(outcome.reason)
        return torch.from_numpy(outcome.squares[0]).permute(2, 0, 1), index

    def note(self, index: int, outcome: Outcome) -> None:
        """Keep the result of reading a file."""
        self.sizes[index] = outcome.size
        if outcome.reason:
            self.failures[self.paths[index]] = outcome.reason


def read_batches(
    dataset: ImagesDataset, batch_size: int, num_workers: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Read all pictures of a dataset, in order.

    Unreadable files go to `dataset.failures` and are missing from their batch; a batch without any picture is skipped.
    The batches do not depend on num_workers. With workers, a decoder that crashes or hangs costs its file alone.

    Parameters
    ----------
    batch_size : files a batch, 1 or more; fewer where they would take too much memory, as `read_ahead` says
    num_workers : processes that decode; 0 = this one

    Yields
    ------
    images (batch, 3, S, S) uint8, in channels_last order; indices (batch,) int64
    """
    import torch

    first = 0
    for batch in read_ahead(dataset.paths, dataset.image_resize, batch_size, num_workers):
        for index, outcome in enumerate(batch, first):
            dataset.note(index, outcome)
        squares = [square for outcome in batch for square in outcome.squares]
        indices = [index for index, outcome in enumerate(batch, first) for _ in outcome.squares]
        first += len(batch)
        if squares:
            images = torch.from_numpy(np.stack(squares))  # (batch, S, S, 3)
            yield images.permute(0, 3, 1, 2), torch.tensor(indices)
