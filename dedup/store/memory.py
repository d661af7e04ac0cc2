"""What a run need not do again: what files held, what the encoder saw in them, how pairs compared.

Everything hangs on contents (digests), and on a tag of the code and settings that made it; a file's content is known
without reading while its path, size, times and inode are what they were.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dedup.store.cache import Cache
from dedup.words import relative_path

MARGIN = 2_000_000_000  # ns; a file that changed so shortly before it was read may change again unseen
TAG = 16  # bytes
CODE = 8  # of an encoder's tag, its first bytes: of the code; the others are of weights and settings
HEAD = struct.Struct("<3i")  # width, height, views; vectors follow
READ_BY = ("dataset",)  # rooms whose source decides what is seen in a file
ENCODED_BY = (*READ_BY, "encoder")
COMPARED_BY = (*READ_BY, "matching")
TOLD_BY = (*COMPARED_BY, "clustering", "deletion")  # facts
PACKAGES = ("numpy", "opencv-python", "pillow", "pillow-heif")


class Stamp(NamedTuple):
    """A file's content, and how the file was while that was read.

    content : BLAKE2b digest, and the ending where only that tells the format; equal for equal pictures
    status : size in bytes, mtime and ctime in ns, inode. None if it changed meanwhile
    """

    content: bytes
    status: tuple[int, int, int, int] | None


class Held(NamedTuple):
    """What an unchanged file held: a content, or the reason why it can't be read."""

    content: bytes
    reason: str


class Seen(NamedTuple):
    """A picture's upright size in px, and the vectors (1 or more, d) of the whole and of its panels."""

    size: tuple[int, int]
    vectors: np.ndarray


class Memory:
    """What is remembered of the files of one folder, with one encoder.

    Parameters
    ----------
    cache : where; it may be one that keeps nothing
    images_dir : the folder that files are known relative to; others are known by their whole path
    encoder : tag of what decides a vector, as from `dedup.encoder.inference.encoder_tag`; empty = none is asked for
    """

    def __init__(self, cache: Cache, images_dir: Path, encoder: bytes = b""):
        self._cache, self._images_dir = cache, images_dir
        self._reading = reading_code()
        self._encoder = encoder

    def about(self) -> list:
        """The fields of the encoder's `About`, if it has been at work."""
        value = self._cache.get("encoders", [self._encoder]).get(self._encoder)
        return json.loads(value) if value else []

    def held(self, paths: Sequence[Path]) -> dict[int, Held]:
        """By place in `paths`, of the files that are as they were when they were read."""
        read = self._read(paths).items()
        return {k: Held(stamp.content, why) for k, (stamp, why) in read if status_now(paths[k]) == stamp.status}

    def stamps(self, paths: Sequence[Path]) -> dict[int, Stamp]:
        """By place in `paths`, what files held when they were read, and what they were then; they may have changed."""
        return {place: stamp for place, (stamp, _) in self._read(paths).items()}

    def keep_held(self, files: Iterable[tuple[Path, Stamp, str]]) -> None:
        """Keep paths, stamps and reasons; not of files that changed just now, whose times would not tell of more."""
        latest = time.time_ns() - MARGIN
        self._cache.put(
            "files",
            [
                (self._file_key(path), json.dumps([*stamp.status, stamp.content.hex(), reason]).encode())
                for path, stamp, reason in files
                if stamp.status and max(stamp.status[1:3]) < latest
            ],
        )

    def contents_seen(self) -> set[bytes]:
        """All contents whose vectors are remembered."""
        return {key[TAG:] for key in self._cache.keys("pictures", self._encoder)}

    def seen(self, contents: Sequence[bytes]) -> dict[bytes, Seen]:
        """By content, of those remembered."""
        values = self._cache.get("pictures", [self._encoder + content for content in contents])
        return {key[TAG:]: _unpack(value) for key, value in values.items()}

    def keep_seen(self, about: Sequence, pictures: Iterable[tuple[bytes, Seen]]) -> None:
        """Keep what an encoder saw, by content."""
        self._cache.put("encoders", [(self._encoder, json.dumps(about).encode())])
        items = [(self._encoder + content, _pack(seen)) for content, seen in pictures]
        self._cache.put("pictures", items)

    def forget_other_code(self) -> None:
        """Forget what other code than today's found: it is never used again. What other settings found stays."""
        encoding = encoding_code()[:CODE]
        codes = {"encoders": encoding, "pictures": encoding, "files": self._reading}
        codes |= {"pairs": comparing_code(), "facts": telling_code()}
        for table, code in codes.items():
            self._cache.forget(table, code)
        self._cache.compact()

    def _read(self, paths: Sequence[Path]) -> dict[int, tuple[Stamp, str]]:
        keys = [self._file_key(path) for path in paths]
        values = self._cache.get("files", keys)
        found = {}
        for place, key in enumerate(keys):
            if key in values:
                *status, content, reason = json.loads(values[key])
                found[place] = Stamp(bytes.fromhex(content), tuple(status)), reason
        return found

    def _file_key(self, path: Path) -> bytes:
        return self._reading + os.fsencode(relative_path(path, self._images_dir))


def encoding_code() -> bytes:
    """Digest of all the code, ours and others', on the way from a file to its vectors."""
    return code_tag(ENCODED_BY, (*PACKAGES, "torch", "torchvision"))


def reading_code() -> bytes:
    """Of the code that tells whether a file can be read."""
    return code_tag(READ_BY, PACKAGES)


def comparing_code() -> bytes:
    """Of the code that compares two pictures."""
    return code_tag(COMPARED_BY, PACKAGES)


def telling_code() -> bytes:
    """Of the code that finds facts."""
    return code_tag(TOLD_BY, PACKAGES)


def code_tag(rooms: Sequence[str], packages: Sequence[str], *more: object) -> bytes:
    """Digest of the source of rooms of ours, of packages' versions and of more."""
    digest = hashlib.blake2b(digest_size=TAG)
    for room in rooms:
        digest.update(_source(room))
    digest.update(repr([*map(_version, packages), *more]).encode())
    return digest.digest()


@cache
def _source(room: str) -> bytes:
    """Digest of a room's modules, with the folders in it."""
    digest = hashlib.blake2b(digest_size=TAG)
    for module in sorted((Path(__file__).parent.parent / room).glob("*.py")):
        digest.update(module.name.encode() + b"\0" + module.read_bytes())
    return digest.digest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # installed under another name, as opencv-python-headless
        return ""


def status_of(status: os.stat_result) -> tuple[int, int, int, int]:
    """By what an unchanged file is known: size in bytes, mtime and ctime in ns, inode."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def status_now(path: Path) -> tuple[int, int, int, int] | None:
    """A file's own status, that of no link; None once it is gone."""
    try:
        return status_of(os.stat(path, follow_symlinks=False))
    except OSError:
        return None


def _pack(seen: Seen) -> bytes:
    return HEAD.pack(*seen.size, len(seen.vectors)) + seen.vectors.astype("<f4").tobytes()


def _unpack(value: bytes) -> Seen:
    width, height, views = HEAD.unpack_from(value)
    return Seen((width, height), np.frombuffer(value, "<f4", offset=HEAD.size).reshape(views, -1))
