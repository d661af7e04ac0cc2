"""Files below one folder, reached without following a link. Input: folder and name. Output: verified facts.

Where the system has openat (Linux, macOS), each component of a path is opened relative to the one above it and never
through a link, so that a folder swapped for a link at any moment leads nowhere. Elsewhere (Windows) each component is
checked right before its use, which leaves a short moment in between.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dedup.dataset.folder_rules import DIGEST

HAS_OPENAT = {os.open, os.stat, os.mkdir, os.rename, os.link, os.unlink, os.rmdir} <= os.supports_dir_fd
_READ_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
_READ_BYTES = 1 << 20  # bytes


class NotPlain(OSError):
    """Something on the way is a link, or the file is not a regular file."""


@dataclass(frozen=True)
class Snapshot:
    """What a regular file was at one moment; `blake2b` is the digest of its content, 64 hexadecimal digits."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    blake2b: str

    @property
    def identity(self) -> tuple[int, int]:
        return self.device, self.inode


class Folder:
    """An open folder; every method takes a bare name in it and follows no link."""

    def __init__(self, path: Path, descriptor: int | None):
        self.path, self._descriptor = path, descriptor

    @classmethod
    def open(cls, path: Path) -> "Folder":
        """Open the folder that all others are below. This one may be reached through links: its user named it."""
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(path))
        return cls(path, os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if HAS_OPENAT else None)

    def __enter__(self) -> "Folder":
        return self

    def __exit__(self, *_) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _at(self, name: str, key: str = "dir_fd") -> tuple[str, dict[str, int]]:
        return (name, {key: self._descriptor}) if HAS_OPENAT else (os.path.join(self.path, name), {})

    def status(self, name: str) -> os.stat_result:
        path, at = self._at(name)
        return os.stat(path, follow_symlinks=False, **at)

    def names(self) -> list[str]:
        return sorted(os.listdir(self._descriptor if HAS_OPENAT else self.path))

    def find(self, name: str) -> os.stat_result | None:
        """The status of `name`, or None where there is nothing of that name."""
        try:
            return self.status(name)
        except FileNotFoundError:
            return None

    def folder(self, name: str) -> "Folder":
        """Open a folder in this one."""
        status = self.status(name)
        if is_link(status) or not stat.S_ISDIR(status.st_mode):
            raise NotPlain(errno.ENOTDIR, "a link" if is_link(status) else "not a folder", name)
        path, at = self._at(name)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC if HAS_OPENAT else 0
        return Folder(self.path / name, os.open(path, flags, **at) if HAS_OPENAT else None)

    @contextmanager
    def parent_of(self, parts: Sequence[str], create: bool = False) -> Iterator["Folder"]:
        """Open the folder that holds the last of `parts`, each below the one before; `create` makes what is missing."""
        here = Folder(self.path, os.dup(self._descriptor) if HAS_OPENAT else None)
        try:
            for name in parts[:-1]:
                if create and here.find(name) is None:
                    here.make(name)
                    here.sync()
                above, here = here, here.folder(name)
                above.__exit__()
            yield here
        finally:
            here.__exit__()

    def snapshot(self, name: str) -> Snapshot:
        """Read the regular file `name` whole; OSError if it is anything else or changes while it is read."""
        descriptor = self._open_file(name)
        try:
            opened = os.fstat(descriptor)
            digest, size = _digest(descriptor, opened.st_size)
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if size != after.st_size or (opened.st_size, opened.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise OSError(errno.EBUSY, "it changes while it is read", name)
        return Snapshot(after.st_dev, after.st_ino, size, after.st_mtime_ns, digest)

    def read(self, name: str) -> bytes:
        """The content of the regular file `name`."""
        with os.fdopen(self._open_file(name), "rb") as file:
            return file.read()

    def _open_file(self, name: str) -> int:
        """Open a regular file for reading; a link, a FIFO or a device is refused without being waited for."""
        status = self.status(name)
        if is_link(status) or not stat.S_ISREG(status.st_mode):
            raise NotPlain(errno.EINVAL, "a link" if is_link(status) else "not a regular file", name)
        path, at = self._at(name)
        descriptor = os.open(path, _READ_FLAGS, **at)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise NotPlain(errno.EINVAL, "not a regular file", name)
        return descriptor

    def create(self, name: str) -> int:
        """Make a new, empty file and return its descriptor; FileExistsError if the name is taken."""
        path, at = self._at(name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        return os.open(path, flags, 0o600, **at)

    def make(self, name: str, mode: int = 0o777) -> None:
        path, at = self._at(name)
        os.mkdir(path, mode, **at)

    def rename(self, name: str, to: "Folder", new_name: str) -> None:
        """Rename `name` to `new_name` in the folder `to`; elsewhere than on Windows this replaces what is there."""
        (source, source_at), (target, target_at) = self._at(name, "src_dir_fd"), to._at(new_name, "dst_dir_fd")
        os.rename(source, target, **source_at, **target_at)

    def link(self, name: str, to: "Folder", new_name: str) -> None:
        """Give `name` a second name `new_name` in the folder `to`; FileExistsError if that is taken."""
        (source, source_at), (target, target_at) = self._at(name, "src_dir_fd"), to._at(new_name, "dst_dir_fd")
        os.link(source, target, follow_symlinks=False, **source_at, **target_at)

    def unlink(self, name: str) -> None:
        path, at = self._at(name)
        os.unlink(path, **at)

    def remove_folder(self, name: str) -> None:
        """Remove an empty folder."""
        path, at = self._at(name)
        os.rmdir(path, **at)

    def sync(self) -> None:
        """Write the folder's entries to the disk, where the system can do that."""
        if self._descriptor is None:
            return
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise OSError(errno.EIO, f"a folder could not be synced: {error.strerror}", str(self.path)) from None


def is_link(status: os.stat_result) -> bool:
    """Whether an unfollowed status is that of a symbolic link or, on Windows, of a junction."""
    junction = getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", None)
    return stat.S_ISLNK(status.st_mode) or (junction is not None and getattr(status, "st_reparse_tag", 0) == junction)


def _digest(descriptor: int, expected_size: int) -> tuple[str, int]:
    """Digest and number of bytes read; stops soon after `expected_size`, so that a growing file has an end."""
    digest, size = hashlib.blake2b(digest_size=DIGEST), 0
    while size <= expected_size and (chunk := os.read(descriptor, _READ_BYTES)):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size
