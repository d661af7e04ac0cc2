"""Folders that a user treats differently. Input: their paths. Output: what that means for a file.

Those in images_dir hold files to prefer or to protect; an archive lies elsewhere, is compared with, and never touched.

A folder is identified by device and inode, not by its path: another spelling, or a link to it, is the same folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path

from dedup.config import FOLDER, ConfigError

Identity = tuple[int, int]  # device and inode
TRASH = ".dedup-trash"  # in images_dir
DIGEST = 32  # bytes of BLAKE2b, by which a content is known
THUMBNAILS = "thumbnails"  # in output_dir
THUMBNAIL_NAME = re.compile(r"[0-9a-f]{64}\.jpg")  # the blake2b digest of what it is made from


@dataclass(frozen=True)
class Places:
    """Folders, with all that is below them.

    prefer : words that decide which file of a version stays, each with the folder in images_dir that it names
    protect : in images_dir; files in here are compared and kept, and never go
    against : the archives, resolved. One may lie in images_dir, or images_dir in it: each has its own files. With
        archives, a file goes only for a keeper that lies in one
    merges : whether what keepers lack is written into XMP files beside them
    """

    images_dir: Path = Path()
    protect: frozenset[Identity] = field(default=frozenset())
    against: tuple[Path, ...] = ()
    prefer: tuple[tuple[str, frozenset[Identity]], ...] = ()
    merges: bool = False

    @classmethod
    def find(
        cls,
        images_dir: Path,
        protect: Sequence[Path] = (),
        against: Sequence[Path] = (),
        output_dir: Path | None = None,
        merges: bool = False,
    ) -> Places:
        """Look the folders up.

        Raises ConfigError : one of them does not exist, is not a folder or is images_dir itself; one of protect lies
            outside it; an archive can't be read, lies in a trash folder or in another archive, or holds output_dir
        """
        for option, given in (("--protect", protect), ("--against", against)):
            if "" in map(os.fspath, given):  # such as an unset shell variable; Path("") is the current folder
                raise ConfigError(f"{option} is empty; give a folder")
        protected = frozenset(_inside(images_dir, Path(path), "--protect") for path in protect)
        archives = tuple(_archive(images_dir, Path(path)) for path in against)
        places = cls(Path(images_dir), protected, archives, merges=merges)
        for archive in places.against:
            others = [other for other in places.against if other is not archive]
            if not (_way_up(archive) | {_identity(archive)}).isdisjoint(map(_identity, others)):
                raise ConfigError(f"--against {archive} lies in another archive, or is given twice; give the outer one")
            written = (output_dir, output_dir / THUMBNAILS) if output_dir else ()
            if any(_owner(folder, images_dir, archive) == archive for folder in written):
                raise ConfigError(
                    f"output_dir {output_dir} lies in the archive, which is never written to; choose another"
                )
        return places

    def protects(self, path: Path, keeper: Path | None = None) -> str:
        """Why a file in images_dir never goes, or never for this keeper; empty if it may."""
        if self._is_in(self.protect, path):
            return "lies in a protected folder"
        if self.archive_of(path) or self._is_in(self._archives, path):
            return "lies in the archive"
        return NOT_ARCHIVED if self.against and keeper is not None and not self.archive_of(keeper) else ""

    def merges_beside(self, keeper: Path) -> bool:
        """Whether an XMP file may be written beside a keeper: never in a protected folder or an archive."""
        return self.merges and not self.protects(keeper)

    def archive_of(self, path: Path) -> int:
        """Number, from 1, of the archive that a file lies in, 0 if in none; path: below the archive or images_dir."""
        for number, archive in enumerate(self.against, start=1):
            inner = path.is_relative_to(self.images_dir) and len(self.images_dir.parts) > len(archive.parts)
            if path.is_relative_to(archive) and not inner:
                return 0 if self._home in _identities(path.parent, archive) else number
        return 0

    def root_of(self, path: Path) -> Path | None:
        """The archive that a file lies in, if any."""
        return (None, *self.against)[self.archive_of(path)]

    def incoming(self, paths: Sequence[Path]) -> list[Path]:
        """Those of the files below images_dir that lie in no archive."""
        return [path for path in paths if not self._is_in(self._archives, path)]

    @cached_property
    def _home(self) -> Identity:
        return _identity(self.images_dir)

    @cached_property
    def _archives(self) -> frozenset[Identity]:
        return frozenset(map(_identity, self.against))

    def preferring(self, images_dir: Path, words: Sequence[str]) -> Places:
        """The same places with the words of the `prefer` setting.

        Raises ConfigError : a folder in `words` does not exist, or lies outside images_dir
        """
        prefer = tuple((word, _named(images_dir, word)) for word in words)
        return replace(self, images_dir=Path(images_dir), prefer=prefer) if words else self

    def fits(self, path: Path, word: str, folder: frozenset[Identity]) -> bool:
        """Whether a file lies in the preferred folder, or has the preferred ending."""
        return self._is_in(folder, path) if folder else path.suffix.lower() == f".{word}"

    def _is_in(self, folders: frozenset[Identity], path: Path) -> bool:
        return bool(folders) and not folders.isdisjoint(_identities(path.parent, self.images_dir))


def is_thumbnail(path: Path) -> bool:
    """Whether a file is a thumbnail of this or an earlier run: it is not searched, and never a keeper."""
    return path.parent.name == THUMBNAILS and THUMBNAIL_NAME.fullmatch(path.name) is not None


NOWHERE = Places()
NOT_ARCHIVED = "not in the archive"


@lru_cache(maxsize=4096)
def _identities(folder: Path, images_dir: Path) -> frozenset[Identity]:
    """Identities of a folder and those above it, up to images_dir; folders that are gone have none."""
    found = set()
    while folder != images_dir and images_dir in folder.parents:
        with suppress(OSError):
            found.add(_identity(folder))
        folder = folder.parent
    return frozenset(found)


def _identity(folder: Path) -> Identity:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _way_up(folder: Path) -> set[Identity]:
    """Identities of a folder's parents."""
    return {_identity(above) for above in Path(os.path.realpath(folder)).parents}


def _owner(folder: Path, images_dir: Path, archive: Path) -> Path | None:
    """The nearer of the two folders above a folder, which may not exist yet."""
    here = Path(os.path.realpath(folder))
    for each in (here, *here.parents):
        for root in (images_dir, archive):
            if each.exists() and _identity(each) == _identity(root):
                return root
    return None


def _expect_folder(folder: Path, option: str, wanted: str) -> None:
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise ConfigError(f"{option} {folder} {what}; give {wanted}")


def _archive(images_dir: Path, folder: Path) -> Path:
    _expect_folder(folder, "--against", "the folder of an archive")
    if _identity(folder) == _identity(images_dir):
        raise ConfigError(f"--against {folder} is the searched folder itself; give another one")
    archive = Path(os.path.realpath(folder))
    if TRASH in archive.parts:
        raise ConfigError(f"--against {folder} lies in a trash folder; give another one")
    try:
        os.scandir(archive).close()
    except OSError as error:
        raise ConfigError(f"--against {folder} can't be read: {error.strerror}") from None
    return archive


def _named(images_dir: Path, word: str) -> frozenset[Identity]:
    """The folder of a word such as folder:Originals, below images_dir or as seen from here; none of another word."""
    if not word.startswith(FOLDER):
        return frozenset()
    given = Path(word.removeprefix(FOLDER))
    below = Path(images_dir) / given
    return frozenset({_inside(images_dir, below if below.is_dir() else given, f"--prefer {FOLDER}")})


def _inside(images_dir: Path, folder: Path, option: str) -> Identity:
    _expect_folder(folder, option, f"a folder inside {images_dir}")
    identity, root = _identity(folder), _identity(images_dir)
    if identity == root:
        raise ConfigError(f"{option} {folder} is the searched folder itself; give a folder inside it")
    if root not in _way_up(folder):
        raise ConfigError(f"{option} {folder} does not lie inside {images_dir}; give a folder that does")
    return identity
