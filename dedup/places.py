"""Folders that a user treats differently: their paths in, what that means for a file out.

A folder is known by what it is, not by how it is written: another spelling, or a link to it, names the same folder.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from dedup.config import ConfigError

Identity = tuple[int, int]  # device and inode


@dataclass(frozen=True)
class Places:
    """Folders inside images_dir, with all that is below them.

    keep_in : of files that show the same, one in here is kept
    protect : files in here are compared and kept, and never go
    """

    images_dir: Path = Path()
    keep_in: frozenset[Identity] = field(default=frozenset())
    protect: frozenset[Identity] = field(default=frozenset())

    @classmethod
    def find(cls, images_dir: Path, keep_in: Sequence[Path] = (), protect: Sequence[Path] = ()) -> Places:
        """Look the folders up.

        Raises
        ------
        ConfigError : one of them does not exist, is no folder, is images_dir itself or lies outside it
        """
        kept = frozenset(_inside(images_dir, Path(path), "--keep-in") for path in keep_in)
        return cls(Path(images_dir), kept, frozenset(_inside(images_dir, Path(path), "--protect") for path in protect))

    def protects(self, path: Path) -> str:
        """Why a file never goes; empty if it may."""
        return "lies in a protected folder" if self._is_in(self.protect, path) else ""

    def prefers(self, path: Path) -> str:
        """Why a file is kept rather than one that shows the same; empty if there is no such reason."""
        return self.protects(path) or ("lies in a folder to keep files in" if self._is_in(self.keep_in, path) else "")

    def _is_in(self, folders: frozenset[Identity], path: Path) -> bool:
        return bool(folders) and not folders.isdisjoint(_identities(path.parent, self.images_dir))


NOWHERE = Places()


@lru_cache(maxsize=4096)
def _identities(folder: Path, images_dir: Path) -> frozenset[Identity]:
    """Of a folder and those above it, up to images_dir; of those that are gone, none."""
    found = set()
    while folder != images_dir and images_dir in folder.parents:
        with suppress(OSError):
            found.add(_identity(folder))
        folder = folder.parent
    return frozenset(found)


def _identity(folder: Path) -> Identity:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _inside(images_dir: Path, folder: Path, option: str) -> Identity:
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise ConfigError(f"{option} {folder} {what}; give a folder inside {images_dir}")
    identity, root = _identity(folder), _identity(images_dir)
    if identity == root:
        raise ConfigError(f"{option} {folder} is the searched folder itself; give a folder inside it")
    if root not in {_identity(above) for above in Path(os.path.realpath(folder)).parents}:
        raise ConfigError(f"{option} {folder} does not lie inside {images_dir}; give a folder that does")
    return identity
