"""What the encoder saw in files, remembered: contents and paths in, vectors and reasons out."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dedup.store import Stamp, Store

HEAD = struct.Struct("<3i")  # width, height, views; vectors follow


class Seen(NamedTuple):
    """A picture's upright size in px, and the vectors (1 or more, d) of the whole and of its panels."""

    size: tuple[int, int]
    vectors: np.ndarray

    def pack(self) -> bytes:
        return HEAD.pack(*self.size, len(self.vectors)) + self.vectors.astype("<f4").tobytes()

    @classmethod
    def unpack(cls, value: bytes) -> Seen:
        width, height, views = HEAD.unpack_from(value)
        return cls((width, height), np.frombuffer(value, "<f4", offset=HEAD.size).reshape(views, -1))


class Memory:
    """What a store knows of files and of one encoder's vectors.

    tag : of what decides a vector besides the code, as from `dedup.encoder.inference.encoder_tag`
    """

    def __init__(self, store: Store, tag: bytes = b""):
        self._store, self._tag = store, tag

    def about(self) -> list:
        """The fields of the encoder's `About`, if it has been at work."""
        value = self._store.get_all("encoder", [self._tag]).get(self._tag)
        return json.loads(value) if value else []

    def held(self, paths: Sequence[Path]) -> dict[int, tuple[bytes, str]]:
        """Contents, and reasons why they can't be read, empty if they can; by place in `paths`, of unchanged files."""
        contents = self._store.contents(paths)
        reasons = self._store.get_all("unreadable", contents.values())
        found = ((place, contents[path]) for place, path in enumerate(paths) if path in contents)
        return {place: (content, reasons.get(content, b"").decode()) for place, content in found}

    def keep_held(self, files: Iterable[tuple[Path, Stamp, str]]) -> None:
        """Keep paths, stamps and reasons."""
        files = list(files)
        self._store.keep_stamps({path: stamp for path, stamp, _ in files})
        reasons = [(stamp.content, reason.encode()) for _, stamp, reason in files if stamp.status and reason]
        self._store.keep_all("unreadable", reasons)

    def contents_seen(self) -> set[bytes]:
        """All contents whose vectors are remembered."""
        return {key[len(self._tag) :] for key in self._store.keys("vectors", self._tag)}

    def seen(self, contents: Iterable[bytes]) -> dict[bytes, Seen]:
        """By content, of those remembered."""
        values = self._store.get_all("vectors", [self._tag + content for content in contents])
        return {key[len(self._tag) :]: Seen.unpack(value) for key, value in values.items()}

    def keep_seen(self, about: Sequence, pictures: Iterable[tuple[bytes, Seen]]) -> None:
        """Keep what an encoder saw, by content."""
        self._store.keep_all("encoder", [(self._tag, json.dumps(about).encode())])
        self._store.keep_all("vectors", [(self._tag + content, seen.pack()) for content, seen in pictures])
