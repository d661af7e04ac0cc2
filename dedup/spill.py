"""A spool: pickled objects by number in, the same objects out, in little memory however many they are.

The first go into memory, up to `room` bytes; those that follow into a temporary file that nobody else sees.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

RECENT = 64  # objects that are kept as they are, as they tend to be asked for again


class Spool:
    """Objects by number; a forked process can read those that were there when it was forked.

    Parameters
    ----------
    folder : where the temporary file is made once it is needed; None = where the system has such files
    room : bytes in memory
    """

    def __init__(self, folder: Path | None = None, room: int = 1 << 28):
        self._folder, self._room = folder, room
        self.clear()

    def clear(self) -> None:
        """Forget all objects, and give memory and disk back."""
        self._in_memory: dict[int, bytes] = {}
        self._on_disk: dict[int, tuple[int, int]] = {}  # offset, bytes
        self._recent: OrderedDict[int, Any] = OrderedDict()
        self._taken = self._end = 0
        self._file = None  # it vanishes with its last user

    def __contains__(self, number: int) -> bool:
        return number in self._in_memory or number in self._on_disk

    def put(self, number: int, pickled: bytes) -> None:
        """Keep a pickled object. Raises OSError where the disk is full."""
        self._recent.pop(number, None)
        self._taken -= len(self._in_memory.pop(number, b""))
        if self._taken + len(pickled) <= self._room:
            self._in_memory[number] = pickled
            self._taken += len(pickled)
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - open until cleared
        self._file.seek(self._end)
        rest = memoryview(pickled)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._on_disk[number] = self._end, len(pickled)
        self._end += len(pickled)

    def get(self, number: int) -> Any:
        """The object, unpickled. Raises KeyError if there is none."""
        if number not in self._recent:
            pickled = self._in_memory[number] if number in self._in_memory else self._read(*self._on_disk[number])
            self._recent[number] = pickle.loads(pickled)
            if len(self._recent) > RECENT:
                self._recent.popitem(last=False)
        self._recent.move_to_end(number)
        return self._recent[number]

    def _read(self, offset: int, size: int) -> bytes:
        if hasattr(os, "pread"):  # forked processes share the file's position: leave it alone
            return os.pread(self._file.fileno(), size, offset)
        self._file.seek(offset)
        return self._file.read(size)
