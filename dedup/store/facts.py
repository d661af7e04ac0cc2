"""Facts: what is told of files by their contents, remembered from an earlier run or else found now.

kind, paths of one or two files, what finds it  ->  a value that JSON can hold

A file is unchanged while it has the status with which its content was read. Of others nothing is recalled or kept.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from dedup.config import Config
from dedup.store.cache import NAME, Cache
from dedup.store.memory import Memory, Stamp, status_now, status_of, telling_code
from dedup.workers import Helper, Losses, Lost

TOGETHER = 256  # facts kept at a time
AGAIN = 1 << 16  # facts that are kept at hand once they were recalled
KEY = 16  # bytes of digest that tell facts of the same code apart


class Facts:
    """Recalls and keeps facts, each under its kind, the contents of its files and what else decides it.

    Parameters
    ----------
    cache : where they are kept
    memory : knows what unchanged files hold; None = nothing is known, every fact is found anew
    has_process : whether facts are found in a process of their own, so that a decoder's crash costs one fact
    losses : notes facts that could not be found

    Attributes
    ----------
    helper : does jobs that are too few for many processes
    """

    def __init__(
        self, cache: Cache, memory: Memory | None = None, has_process: bool = False, losses: Losses | None = None
    ):
        self._cache, self._memory = cache, memory
        self.helper, self.losses = Helper(has_process), Losses() if losses is None else losses
        self._stamps: dict[Path, Stamp | None] = {}
        self._new: dict[bytes, bytes] = {}
        self._recalled: dict[bytes, bytes] = {}

    def content(self, path: Path, status: os.stat_result | None = None) -> bytes:
        """Digest of what a file holds, as in its `Stamp`; empty unless that is known without reading it.

        status : the file's own now, that of no link, if it was taken already
        """
        if path not in self._stamps:
            self._stamps[path] = self._memory.stamps([path]).get(0) if self._memory else None
        stamp = self._stamps[path]
        now = stamp and (status_of(status) if status else status_now(path))
        return stamp.content if stamp and now == stamp.status else b""

    def of(self, kind: str, find: Callable[[], Any], *paths: Path, given: Any = None) -> Any:
        """A fact of files, `find()` unless it is remembered. None says that nothing can be told now, and is not kept.

        Where finding it raises, crashes or hangs, it is `Lost`, noted in `losses` and not kept.

        find : a job, as `workers.Helper` takes it
        given : what else decides the fact, as JSON can hold it
        """
        key = self._key(kind, paths, given)
        found = self._recall(key)
        if found is None:
            found = self.helper.run(find)
            if isinstance(found, Lost):
                self.losses.note(found, *paths)
            elif key == self._key(kind, paths, given):  # no file has changed meanwhile
                self._keep(key, found)
        return found

    def recall(self, kind: str, *paths: Path, given: Any = None) -> Any:
        """A fact that is remembered, None if it is not."""
        return self._recall(self._key(kind, paths, given))

    def keep(self, kind: str, fact: Any, *paths: Path, given: Any = None) -> None:
        """Keep a fact that `recall` did not find, at the latest with the next `flush`."""
        self._keep(self._key(kind, paths, given), fact)

    def close(self) -> None:
        """Keep what is new, and end the process."""
        self.helper.close()
        self.flush()

    def flush(self) -> None:
        self._cache.put("facts", self._new.items())
        self._new = {}

    def _recall(self, key: bytes) -> Any:
        value = self._new.get(key) or self._recalled.get(key)
        if key and not value and (value := self._cache.get("facts", [key]).get(key)):
            if len(self._recalled) >= AGAIN:
                self._recalled.clear()
            self._recalled[key] = value
        return json.loads(value) if value else None

    def _keep(self, key: bytes, fact: Any) -> None:
        if key and fact is not None:
            self._new[key] = json.dumps(fact, default=float).encode()
        if len(self._new) >= TOGETHER:
            self.flush()

    def _key(self, kind: str, paths: tuple[Path, ...], given: Any) -> bytes:
        """Empty if one of the files may have changed."""
        contents = [self.content(path) for path in paths]
        if not all(contents):
            return b""
        text = json.dumps([kind, [content.hex() for content in contents], given], default=float)
        return self._tag + hashlib.blake2b(text.encode(), digest_size=KEY).digest()

    @cached_property
    def _tag(self) -> bytes:
        return telling_code()


NOTHING = Facts(Cache(None))  # known


@contextmanager
def remembered(config: Config) -> Iterator[Facts]:
    """The facts that a run with these settings can recall and keep, where it has remembered what files hold."""
    path = config.output_dir / NAME
    with closing(Cache(path if config.cache and path.exists() else None)) as cache:
        facts = Facts(cache, Memory(cache, config.images_dir), config.num_workers > 0)
        with closing(facts):
            yield facts
