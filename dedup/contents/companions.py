"""Companions: files that belong to a picture and lie beside it.

Input: a picture's path. Output: its sidecars, films, RAW files and memos.

A companion is not a picture itself, or one of the two is a RAW file, as of RAW + JPEG of one shot. Its name is the
picture's name or stem, followed by something that does not begin with a letter or digit: IMG_1.xmp, IMG_1.jpg.json,
IMG_1_01.jpg.xmp. It may lie in a folder beside the picture that holds no pictures of its own. If several pictures fit,
it belongs to the one with the longest name. Names are taken as programs write them:

IMG_1(2).jpg       IMG_1.jpg(2).json, IMG_1.jpg.supplemental-metadata(2).json    Google Takeout numbers them anywhere,
IMG_1-edited.jpg   IMG_1.jpg.json                                                has one for both versions,
a long name.jpg    the first 46 characters of its name.json                      and clips them
IMG_E0001.JPG      IMG_0001.AAE, IMG_O0001.AAE, IMG_0001.MOV                     Apple, of an edited picture
"""

from __future__ import annotations

import os
import re
import stat
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Container, Iterator
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from dedup.dataset.decoding import FORMATS, NAMED, RAW, digest_of
from dedup.dataset.images import is_of_other_programs

CUT_OFF = 46  # characters of a name (or bytes, where it is longer in those) from which Takeout may have clipped it
LEVELS_BELOW = 2  # folders below the picture's own: NKSC_PARAM/a.jpg.nksc, CaptureOne/Settings/a.jpg.cos
_HEIF = {".heic", ".heics", ".heif", ".heifs", ".hif"}
_COPY_NUMBER, _APPLE, _VERSION = re.compile(r"\(\d+\)"), re.compile(r"^img_[eo](?=\d)"), re.compile(r"-[^\W\d_]+$")


class Companions(NamedTuple):
    """The files that go together with a duplicate, all or none.

    pairs : the keeper's companion and the same file beside the duplicate
    reason : why they can't go; empty if they can, or there are none
    """

    pairs: tuple[tuple[Path, Path], ...] = ()
    reason: str = ""


def matched_companions(member: Path, keeper: Path) -> Companions:
    """The companions that go together with a duplicate: the keeper has the same of each, byte for byte."""
    own = companions_of(member)
    if not own:
        return Companions()
    pairs, kept = [], {_content(path): path for path in companions_of(keeper)}
    for path in own:
        twin = kept.get(_content(path))
        is_shared = not _owners(path, member.parent) <= {member, *own}
        if twin is None or is_shared or not _is_plain(path):
            return Companions(reason=f"belongs together with {path.relative_to(member.parent).as_posix()}")
        pairs.append((twin, path))
    return Companions(tuple(pairs))


def belongs_anew(member: Path, known: Container[Path]) -> bool:
    """Whether a duplicate has a companion that is not known, or one that also belongs to another picture."""
    own = companions_of(member)
    return any(path not in known or not _owners(path, member.parent) <= {member, *own} for path in own)


def companions_of(picture: Path) -> list[Path]:
    """The companions of a picture, sorted."""
    return sorted(other for other, owners in _in_folder(picture.parent).items() if picture.name in owners)


def picture_beside(raw: Path, root: Path) -> Path | None:
    """The picture beside a RAW file, or in a folder above it within `root`, without which the RAW file never goes."""
    folders = [folder for folder in raw.parents if folder == root or root in folder.parents]
    for folder in folders[: 1 + LEVELS_BELOW] if raw.suffix.lower() in RAW else ():
        with suppress(OSError):  # it is gone
            if pictures := sorted(filter(_is_picture, _in_folder(folder).get(raw, ()))):
                return folder / pictures[0]
    return None


def goes_with(raw: Path, root: Path) -> str:
    """Why a RAW file never goes by itself, in words; empty for a file that may."""
    picture = picture_beside(raw, root)
    return f"goes or stays with {picture.name}" if picture else ""


def xmp_beside(picture: Path) -> str:
    """Name of the XMP file of a picture: one that belongs to it alone, or its name and .xmp."""
    whole, owned = f"{picture.name}.xmp", _in_folder(picture.parent)
    names = [picture.parent / f"{name}{ending}" for name in (picture.name, picture.stem) for ending in (".xmp", ".XMP")]
    own = [path.name for path in names if owned.get(path) == {picture.name}]
    return whole if picture.parent / whole in owned or not own else own[0]


def _owners(other: Path, folder: Path) -> set[Path]:
    return {folder / name for name in _in_folder(folder)[other]}


def _is_plain(path: Path) -> bool:
    """Whether a file is a regular one under one name, with something in it."""
    status = os.lstat(path)
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_size > 0


def _content(path: Path) -> tuple[str, bytes]:
    status = os.stat(path)
    return path.suffix.casefold(), digest_when(path, status.st_size, status.st_mtime_ns)


# A keeper is asked for again with each of its members; on the page, each file with each other.
@lru_cache(maxsize=1 << 14)
def digest_when(path: Path, size: int, mtime_ns: int) -> bytes:
    """Digest of a file; `size` and `mtime_ns` are part of the cache's key, so that a change is noticed."""
    with path.open("rb") as file:
        return digest_of(file)


def _in_folder(folder: Path) -> dict[Path, frozenset[str]]:
    return _all_in_folder(folder, os.stat(folder).st_mtime_ns)


@lru_cache(maxsize=1 << 10)
def _all_in_folder(folder: Path, mtime_ns: int) -> dict[Path, frozenset[str]]:
    """Companions in a folder and below it, each with the names of its pictures; `mtime_ns` is for the cache's key."""
    files = [entry.name for entry in os.scandir(folder) if not entry.is_dir()]
    pictures = [name for name in files if _is_picture(name)]
    others = [folder / name for name in files if not _is_picture(name)]
    names, below = _Names(pictures), _below(folder, LEVELS_BELOW)
    owned = {path: names.owners(path.name) for path in (*others, *below)}
    raws = _Names([path.name for path in others])  # files that are no pictures may be duplicates too, as RAW files are
    owned |= {path: owned[path] | raws.owners(path.name) for path in others}
    owned |= {folder / name: raws.owners(name) for name in pictures}
    return {path: owners for path, owners in owned.items() if owners}


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """Files in folders below that hold no pictures."""
    for entry in os.scandir(folder) if depth else ():
        if not entry.is_dir(follow_symlinks=False) or entry.name.startswith(".") or is_of_other_programs(entry.name):
            continue
        try:
            names = [each.name for each in os.scandir(entry.path) if not each.is_dir()]
        except OSError:
            continue
        if not any(map(_is_picture, names)):
            yield from (Path(entry.path, name) for name in names)
            yield from _below(Path(entry.path), depth - 1)


class _Names:
    """Finds the names that another file's name belongs to."""

    def __init__(self, names: list[str]):
        self._by_start: dict[tuple[str, str | None], set[str]] = defaultdict(set)  # by start and number of a companion
        self._whole: list[tuple[str, str, str]] = []
        for name in names:
            plain, bare, number = _folded(name)
            for start, at in ((plain, None), (bare, number)):
                self._by_start[start, at].add(name)
                self._by_start[os.path.splitext(start)[0], at].add(name)
            self._whole.append((bare, number, name))
            stem, ending = os.path.splitext(bare)
            if version := _VERSION.search(stem):
                self._by_start[stem[: version.start()] + ending, number].add(name)
                self._whole.append((stem[: version.start()] + ending, number, name))
        self._whole.sort()

    def owners(self, other: str) -> frozenset[str]:
        """The pictures' names that share the longest start with a companion's name."""
        plain, bare, number = _folded(other)
        stem = os.path.splitext(bare)[0]
        if max(len(stem), len(os.fsencode(stem))) >= CUT_OFF and (found := self._beginning(stem, number) - {other}):
            return frozenset(found)
        starts = [
            (end + len(at or ""), names)
            for text, at in ((plain, None), (bare, number))
            for end in range(1, len(text) + 1)
            if end == len(text) or not text[end].isalnum()
            if (names := self._by_start.get((text[:end], at), set()) - {other})
        ]
        longest = max((length for length, _ in starts), default=0)
        return frozenset(name for length, names in starts if length == longest for name in names)

    def _beginning(self, start: str, number: str) -> set[str]:
        found, at = set(), bisect_left(self._whole, (start,))
        while at < len(self._whole) and self._whole[at][0].startswith(start):
            found |= {self._whole[at][2]} if self._whole[at][1] == number else set()
            at += 1
        return found


def _folded(name: str) -> tuple[str, str, str]:
    """A name in lower case, with and without its (n), wherever that stands; and the (n)."""
    plain = _APPLE.sub("img_", name.casefold())
    found = _COPY_NUMBER.search(plain)
    return plain, _COPY_NUMBER.sub("", plain, count=1), found[0] if found else ""


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in _endings()


@cache
def _endings() -> frozenset[str]:
    """Endings of the files that we decode, without RAW files, which may belong to others."""
    Image.init()
    named = {ending for ending, name in Image.registered_extensions().items() if name in FORMATS}
    return frozenset(named | _HEIF | set(NAMED) | {".jxl"})
