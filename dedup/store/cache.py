"""A file that remembers: keys and values of bytes in, the same values out, run after run.

What it gives is what was put, or nothing: a value whose checksum is wrong is not there. A file that is broken
or of another version of this program is thrown away, another program's is left alone. No run ends because of either.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

APPLICATION, FORMAT = 0x64757073, 1  # `PRAGMA application_id` and `user_version`
TABLES = ("encoders", "files", "pictures", "pairs", "facts")
NAME = "cache.sqlite"
TOGETHER = 500  # keys asked for in one query
FORGOTTEN = 10_000  # keys deleted at a time, so that other runs wait for a moment only
FREE, LEFT = 0.5, 1 << 26  # share of free pages from which a file is made smaller; bytes that stay, at most
PATIENCE = 10.0  # seconds to wait for another run that is writing
CHECK = 8  # bytes of checksum


class Cache:
    """Tables of bytes in one SQLite file; every `put` is kept for good, even if the process is killed after it.

    Parameters
    ----------
    path : of the file, made if it is missing; None = remember nothing
    """

    def __init__(self, path: Path | None):
        self.path, self._connection = path, None
        if path is not None:
            self._attempt(self._open)

    def get(self, table: str, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Values by key, of the keys that are there."""
        found: dict[bytes, bytes] = {}
        remaining = iter(dict.fromkeys(keys))
        while self._connection and (chunk := list(islice(remaining, TOGETHER))):
            marks = ",".join("?" * len(chunk))
            query = f"SELECT key, value FROM {table} WHERE key IN ({marks})"
            rows = self._attempt(lambda query=query, chunk=chunk: self._connection.execute(query, chunk).fetchall())
            found |= {key: value[CHECK:] for key, value in rows or () if _is_sound(key, value)}
        return found

    def keys(self, table: str, prefix: bytes) -> list[bytes]:
        """All keys that begin with a prefix."""
        if not self._connection:
            return []
        query = f"SELECT key FROM {table} WHERE substr(key, 1, ?) = ?"
        rows = self._attempt(lambda: self._connection.execute(query, (len(prefix), prefix)).fetchall())
        return [key for (key,) in rows or ()]

    def count(self, table: str) -> int:
        """How many keys a table has."""
        if not self._connection:
            return 0
        return (self._attempt(lambda: self._connection.execute(f"SELECT count(*) FROM {table}").fetchone()) or (0,))[0]

    def put(self, table: str, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep values under their keys, in place of older ones: all of them or, if the process dies meanwhile, none."""
        rows = [(key, _checksum(key, value) + value) for key, value in items]

        def write() -> None:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", rows)

        if self._connection and rows:
            self._attempt(write)

    def forget(self, table: str, prefix: bytes) -> None:
        """Delete all keys that do not begin with a prefix, some at a time; what a killed run leaves is for the next."""
        beyond = (int.from_bytes(prefix) + 1).to_bytes(len(prefix) + 1)[1:]  # zeros where no key is
        for sign, bound in (("<", prefix), (">=", beyond if any(beyond) else None)):
            some = f"SELECT key FROM {table} WHERE key {sign} ? LIMIT {FORGOTTEN}"
            query = f"DELETE FROM {table} WHERE key IN ({some})"
            while self._connection and self._delete(query, bound) == FORGOTTEN:
                pass

    def _delete(self, query: str, bound: bytes | None) -> int:
        return self._attempt(lambda: self._connection.execute(query, (bound,)).rowcount) or 0

    def compact(self) -> None:
        """Make the file smaller where much of it is free, and neither another run nor its size stands in the way."""
        names = "page_count", "freelist_count", "page_size"
        pages, free, size = (self._connection and self._attempt(lambda: list(map(self._mark, names)))) or (0, 0, 0)
        if free > FREE * pages and (pages - free) * size <= LEFT:
            with suppress(sqlite3.OperationalError):  # another run writes, or the disk is full: it stays as large
                self._connection.execute("PRAGMA busy_timeout = 0")
                self._connection.execute("VACUUM")
            self._connection.execute(f"PRAGMA busy_timeout = {int(1000 * PATIENCE)}")

    def close(self) -> None:
        if self._connection:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _open(self) -> None:
        if self.path.exists() and not self.path.is_file():
            raise sqlite3.OperationalError("it is not a file")
        with suppress(OSError):  # if it can't be made, SQLite says so
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._connect()
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")  # two that open at once: one looks after the other has marked
            is_foreign = self._is_foreign()
            if not is_foreign:
                for table in TABLES:
                    self._connection.execute(
                        f"CREATE TABLE IF NOT EXISTS {table} (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
                    )
                self._connection.execute(f"PRAGMA application_id = {APPLICATION}")
                self._connection.execute(f"PRAGMA user_version = {FORMAT}")
        if is_foreign:
            if self._mark("application_id") != APPLICATION:
                raise sqlite3.OperationalError("it is another program's")
            self._throw_away("it is not of this version")
            return self._open()
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")

    def _connect(self) -> None:
        self.close()
        self._connection = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)

    def _is_foreign(self) -> bool:
        marks = self._mark("application_id"), self._mark("user_version")
        is_empty = not self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        return marks != (APPLICATION, FORMAT) and not (is_empty and marks == (0, 0))

    def _mark(self, name: str) -> int:
        return self._connection.execute(f"PRAGMA {name}").fetchone()[0]

    def _attempt(self, action: Callable[[], list | None]) -> list | None:
        """Do it, or go on without a cache; a broken file is thrown away and begun anew."""
        try:
            try:
                return _patiently(action)
            except sqlite3.OperationalError:  # locked for long, a full disk, no right to write
                raise
            except sqlite3.Error as error:
                self._throw_away(f"it is broken ({error})")
                self._open()
        except sqlite3.Error as error:
            self.close()
            _warn(f"{self.path} can't be used ({error}); this run remembers nothing more")
        return None

    def _throw_away(self, why: str) -> None:
        self.close()
        _warn(f"{self.path} is thrown away and begun anew: {why}")
        for ending in ("", "-wal", "-shm"):
            try:
                self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
            except OSError as error:
                raise sqlite3.OperationalError(str(error)) from error


def _patiently(action: Callable[[], list | None]) -> list | None:
    """Do it as soon as it is not locked: SQLite itself does not wait where it begins a file or turns it to WAL."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(PATIENCE / 1000)


def _warn(text: str) -> None:
    logging.getLogger(__name__).warning("%s", text)


def _checksum(key: bytes, value: bytes) -> bytes:
    return hashlib.blake2b(value, key=hashlib.blake2b(key).digest(), digest_size=CHECK).digest()


def _is_sound(key: object, value: object) -> bool:
    return (
        isinstance(key, bytes)
        and isinstance(value, bytes)
        and len(value) >= CHECK
        and value[:CHECK] == _checksum(key, value[CHECK:])
    )
