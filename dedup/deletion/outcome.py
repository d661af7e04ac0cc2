"""The result of a removal, undo or purge: each file done or refused, and the exit code of the whole."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from dedup.deletion.records import AGAINST, BadRecord

DONE, SOME_REFUSED, BAD_PLAN, LOCKED, STOPPED = range(5)  # exit codes
GONE = "it is no longer in the trash: purged, or taken out by hand"  # why a file can't be put back
OF_ONE_FILE = {  # errors about one file or folder, not about the disk
    *(errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL),
    *(errno.EACCES, errno.EPERM, errno.EXDEV, errno.EBUSY, errno.ETXTBSY, errno.ENOTEMPTY),
}


class Refused(Exception):
    """One file is left as it is; the message is the reason."""


@dataclass(frozen=True)
class Outcome:
    """What a call did: the files done, those refused and why (paths relative to the images' folder).

    beside: the XMP files that were written beside keepers, or that a plan would write.
    bytes: of all files that a plan would move.
    exit_code: 0 done; 1 done, some refused; 2 bad plan or journal, nothing touched; 3 another run holds the lock;
    4 an I/O error stopped it, undo is valid. `message` explains codes 2 to 4.
    """

    done: tuple[Path, ...] = ()
    refused: tuple[tuple[Path, str], ...] = ()
    exit_code: int = DONE
    run: str | None = None
    message: str = ""
    beside: frozenset[Path] = frozenset()
    bytes: int = 0

    @property
    def lacks_archive(self) -> bool:
        """Whether `--against`, which was not given, would let more be done."""
        return any(AGAINST in text for text in (self.message, *(reason for _, reason in self.refused)))


class Tally:
    """An outcome while it grows."""

    def __init__(self):
        self.done, self.refused, self.exit_code, self.run, self.message = [], [], DONE, None, ""
        self._place, self.beside, self.bytes = "", set(), 0

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Turn what ends a call early into its exit code."""
        try:
            yield
        except BadRecord as error:
            self.exit_code, self.message = BAD_PLAN, str(error)
        except Timeout:
            self.exit_code, self.message = LOCKED, "another run is at work in this folder"
        except OSError as error:
            self.exit_code, self.message = STOPPED, f"stopped{self._place}: {told(error)}"

    @contextmanager
    def settling(self, *paths: Path) -> Iterator[list[Path]]:
        """Count `paths` as done, all or none: the first as refused if the block refuses it or raises an error about it.

        Yields the list of them, to which the block may add.
        """
        done = list(paths)
        try:
            yield done
        except Refused as error:
            self.refused.append((paths[0], str(error)))
        except OSError as error:
            if error.errno not in OF_ONE_FILE:
                self._place = f" at {ascii(str(paths[0]))}"
                raise
            self.refused.append((paths[0], told(error)))
        else:
            self.done += done

    def outcome(self) -> Outcome:
        exit_code = self.exit_code or (SOME_REFUSED if self.refused else DONE)
        lists = tuple(self.done), tuple(self.refused)
        return Outcome(*lists, exit_code, self.run, self.message, frozenset(self.beside), self.bytes)


def told(error: OSError) -> str:
    """An I/O error as text, with the name it is about."""
    reason = error.strerror or type(error).__name__
    return reason if error.filename is None else f"{reason}: {ascii(error.filename)}"
