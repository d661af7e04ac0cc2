"""Thumbnails. Input: image files. Output: small JPEGs, named by the files' contents.

paths  ->  folder/<blake2b of the file's bytes>.jpg, 400 px or less, and that digest for each path

Files of equal content share a thumbnail, and what an earlier run made is not made again.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from dedup.dataset.decoding import digest_of, open_picture, read_small
from dedup.dataset.folder_rules import THUMBNAIL_NAME
from dedup.output import Phases, progress_bar, write_whole
from dedup.workers import Losses, job, run_jobs

QUALITY = 82  # of the JPEG


def write_thumbnails(
    paths: Sequence[Path],
    folder: Path,
    num_workers: int = 0,
    progress: bool | Phases = True,
    known: Mapping[Path, str] = MappingProxyType({}),
    losses: Losses | None = None,
) -> dict[Path, str]:
    """Write a thumbnail of each file, and remove those in the folder that belong to none of them.

    known : digests of files that need not be opened where their thumbnails are there already
    losses : notes files that can't be read now; the result lacks them
    Returns by path the digest of its content, 64 hexadecimal digits, which is also the stem of its thumbnail
    Raises OSError : the folder can't be written
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = set(os.listdir(folder))
    found = {path: known[path] for path in paths if path in known and f"{known[path]}.jpg" in there}
    missing = [path for path in paths if path not in found]
    losses = Losses() if losses is None else losses
    jobs = run_jobs(_write, [(path, folder) for path in missing], num_workers)
    with progress_bar(progress, len(missing), "Thumbnails", "images") as bar:
        for path, digest in zip(missing, jobs, strict=True):
            bar.update()
            if losses.note(digest, path):
                found[path] = digest
    wanted = {thumbnail_path(folder, digest).name for digest in found.values()}
    for name in os.listdir(folder):
        if THUMBNAIL_NAME.fullmatch(name) and name not in wanted:
            (folder / name).unlink()
    return found


def thumbnail_path(folder: Path, digest: str) -> Path:
    """Where the thumbnail of a content lies."""
    return folder / f"{digest}.jpg"


@job
def _write(given: tuple[Path, Path]) -> str:
    path, folder = given
    with open_picture(path) as file:
        digest = digest_of(file).hex()
        if (thumbnail := thumbnail_path(folder, digest)).exists():
            return digest
        file.seek(0)
        _save(read_small(file, path.suffix.lower())[0], thumbnail)
    return digest


def read_with_thumbnail(path: Path, folder: Path | None = None) -> tuple[np.ndarray, tuple[int, int]]:
    """A file's picture, (height, width, 3) uint8 RGB, long side 400 px or less, and the file's own width and height.

    folder : where its thumbnail is written as well, if it can be; None = nowhere. Raises UnreadableImage
    """
    with open_picture(path) as file:
        digest = digest_of(file).hex() if folder else ""  # of these very bytes: the file may be another soon
        file.seek(0)
        small, size = read_small(file, path.suffix.lower())
    if folder:
        with contextlib.suppress(OSError):  # whoever needs it will try again, and say why it fails
            if not (thumbnail := thumbnail_path(folder, digest)).exists():
                folder.mkdir(exist_ok=True)
                _save(small, thumbnail)
    return small, size


def _save(small: np.ndarray, path: Path) -> None:
    data = io.BytesIO()
    Image.fromarray(small).save(data, "JPEG", quality=QUALITY)
    write_whole(path, data.getvalue())
