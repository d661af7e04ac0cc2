"""The trash inside the images' folder: `.dedup-trash/lock` and, for each run, `<run>/journal.jsonl`, `<run>/1`, ...

open_trash   a folder -> its trash, locked against other runs
new_run      a run's folder with a journal to write to
histories    the runs' journals, read
waiting_runs the runs that have files there now
go_home      one file back to where it was, never over another
put_beside   an XMP file beside a keeper, the old one into the trash; take_away undoes it
"""

import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from dedup.deletion.folders import Folder, NotPlain, is_link
from dedup.deletion.journal import JOURNAL, History, encode, read_journal
from dedup.deletion.outcome import GONE, Refused
from dedup.deletion.records import TRASH, BadRecord, Item, Merge, Pair, item_record

LOCK = "lock"
_MADE = ".made"  # ending of a new XMP file while it lies in the trash
_ALTERED = "the XMP file beside its keeper was changed meanwhile"
_STAYS = "the XMP file was changed since it was written, and stays as it is"
_STAYS_BEFORE = f"{_STAYS}; to get the one before, move it away and undo again"
_TAKEN = "something else is there now; move it away and undo again"
_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK, errno.EXDEV}


@dataclass(frozen=True)
class Run:
    """A run in progress: its name, its folder in the trash, and the descriptor of its journal."""

    name: str
    box: Folder
    descriptor: int

    def record(self, **event: object) -> None:
        """Add a line to the journal and sync it to the disk; any error ends the run, since nothing may follow."""
        try:
            _write(self.descriptor, encode(event))
        except OSError as error:
            raise OSError(errno.EIO, f"the journal could not be written: {error.strerror}") from None

    def intend(self, item: Item) -> None:
        self.record(move=item.sequence, **item_record(item))


@contextmanager
def open_trash(root: Folder, create: bool = False) -> Iterator[Folder]:
    """Open the trash of `root` and hold its lock.

    Raises
    ------
    BadRecord : there is no trash, or something else has its name
    filelock.Timeout : another run holds the lock
    """
    if create and root.find(TRASH) is None:
        try:
            root.make(TRASH, 0o700)
        except FileExistsError:
            pass
        except OSError as error:
            text = f"{ascii(str(root.path))} can't be written to, nothing was moved: {error.strerror}"
            raise OSError(error.errno, text) from None
        root.sync()
    try:
        trash = root.folder(TRASH)
    except FileNotFoundError:
        raise BadRecord(f"{ascii(str(root.path))} has no trash: nothing was ever moved there") from None
    except NotPlain as error:
        raise BadRecord(f"{TRASH} is {error.strerror}") from None
    with trash:
        lock = trash.find(LOCK)
        if lock and (is_link(lock) or not stat.S_ISREG(lock.st_mode)):
            raise BadRecord(f"{TRASH}/{LOCK} is not a regular file")
        with FileLock(root.path / TRASH / LOCK, timeout=0):
            yield trash


@contextmanager
def new_run(trash: Folder, name: str | None = None) -> Iterator[Run]:
    """Make a run's folder and its journal; without a `name` it is named by the time."""
    now = int(time.time())
    name = _unused_name(trash, now) if name is None else _checked_name(name)
    if trash.find(name):
        raise BadRecord(f"there is a run {name} already")
    trash.make(name, 0o700)
    trash.sync()
    with trash.folder(name) as box:
        descriptor = box.create(JOURNAL)
        try:
            run = Run(name, box, descriptor)
            run.record(journal=1, created=now)
            box.sync()
            yield run
        finally:
            os.close(descriptor)


def histories(trash: Folder, name: str | None = None) -> list[History]:
    """Read the journal of the run called `name`, or of all runs, oldest first."""
    runs = [each for each in trash.names() if _RUN_NAME.fullmatch(each) and each != LOCK]
    found = []
    for each in runs if name is None else [_checked_name(name)]:
        try:
            with trash.folder(each) as box:
                if box.find(JOURNAL) or name is not None:
                    found.append(read_journal(box, each))
        except NotPlain as error:
            if name is not None:
                raise BadRecord(f"the run {each} is {error.strerror}") from None
        except FileNotFoundError:
            waiting = ", ".join(waiting_runs(trash.path.parent))
            there = f"in the trash are files of {waiting}" if waiting else "the trash is empty"
            raise BadRecord(f"there is no run {each}; {there}") from None
    return sorted(found, key=lambda history: (history.created, history.run))


def waiting_runs(images_dir: Path) -> list[str]:
    """Names of the runs that have files in the trash at this moment, the latest last; without the lock."""
    found = []
    for journal in Path(images_dir, TRASH).glob(f"*/{JOURNAL}"):
        with suppress(OSError):
            if any(name.isdecimal() for name in os.listdir(journal.parent)):
                found.append((journal.stat().st_mtime_ns, journal.parent.name))
    return [name for _, name in sorted(found) if _RUN_NAME.fullmatch(name)]


def go_home(root: Folder, box: Folder, *pairs: Pair) -> None:
    """Put files of the trash back to where they were; none of them if something else is in the place of one.

    Missing folders on the way are made.

    Raises
    ------
    Refused : something else is there, or one of them is not in the trash
    OSError : the system refuses it; the file is still in the trash
    """
    if len(pairs) > 1 and any(_is_taken(root, box, pair) for pair in pairs):
        raise Refused(_TAKEN)
    for pair in sorted(pairs, key=lambda pair: box.find(str(pair.sequence)) is None):  # a missing file is reported last
        _go_home(root, box, pair)


def put_beside(root: Folder, box: Folder, item: Item, data: bytes) -> None:
    """Put an item's XMP file beside its keeper; the one that is there goes to the trash.

    Raises
    ------
    Refused, OSError : the one that is there has changed since it was read, another file appeared in its place, or the
        folder can't be written to; then call `take_away`
    """
    stored, name, old = str(item.before.sequence), item.merge.name, item.merge.old
    with root.parent_of(item.keep.parts) as home:
        if not os.access(home.path, os.W_OK | os.X_OK):
            raise Refused("its keeper's folder can't be written to")
        descriptor = box.create(stored + _MADE)
        try:
            if hasattr(os, "fchmod"):
                os.fchmod(descriptor, stat.S_IMODE(home.status(name if old else item.keep.parts[-1]).st_mode) & 0o666)
            _write(descriptor, data)
        finally:
            os.close(descriptor)
        box.sync()
        if old:
            home.rename(name, box, stored)
            home.sync()
            box.sync()
            if not _holds(box, stored, old.blake2b):
                raise Refused(_ALTERED)
        _place(box, stored + _MADE, home, name)
        if not _holds(home, name, item.merge.new):
            raise Refused(_ALTERED)


def take_away(root: Folder, box: Folder, item: Item) -> None:
    """Take away what `put_beside` put there, whatever step it was stopped at, and put back what was there before.

    Raises
    ------
    Refused : another file is there now; it stays
    """
    stored, made, merge = str(item.before.sequence), f"{item.before.sequence}{_MADE}", item.merge
    if merge.old is None or box.find(stored):
        with root.parent_of(item.keep.parts) as home:
            _take(box, made, home, merge)
        if merge.old:
            go_home(root, box, item.before)
    if box.find(made) and _holds(box, made, merge.new):
        box.unlink(made)
        box.sync()


def _take(box: Folder, made: str, home: Folder, merge: Merge) -> None:
    there, ours = home.find(merge.name), box.find(made)
    if there and ours:  # both names are taken: ours only if `put_beside` was stopped while it placed the file
        if _is_second_name(there, ours) or (box.find(_marker(made)) and _is_placeholder(there, ours)):
            home.unlink(merge.name)
            home.sync()
    elif there:
        if not _holds(home, merge.name, merge.new):
            raise Refused(_STAYS_BEFORE if merge.old else _STAYS)
        home.rename(merge.name, box, made)
        home.sync()
        box.sync()
        if not _holds(box, made, merge.new):
            _place(box, made, home, merge.name)
            raise Refused(_STAYS)


def _holds(folder: Folder, name: str, digest: str) -> bool:
    with suppress(OSError):
        return folder.snapshot(name).blake2b == digest
    return False


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
    os.fsync(descriptor)


def _go_home(root: Folder, box: Folder, pair: Pair) -> None:
    name, stored = pair.drop.parts[-1], str(pair.sequence)
    ours = box.find(stored)
    if ours is None:
        raise Refused(GONE)
    with root.parent_of(pair.drop.parts, create=True) as home:
        there = home.find(name)
        if there is None:
            _place(box, stored, home, name)
        elif _is_second_name(there, ours):
            _drop_second_name(box, stored, home)  # an earlier call was stopped between its two steps
        elif box.find(_marker(stored)) and _is_placeholder(there, ours):
            _replace_placeholder(box, stored, home, name)
        else:
            raise Refused(_TAKEN)


def _is_taken(root: Folder, box: Folder, pair: Pair) -> bool:
    """Whether something else is where a file of the trash was."""
    ours, there = box.find(str(pair.sequence)), None
    with suppress(FileNotFoundError), root.parent_of(pair.drop.parts) as home:
        there = home.find(pair.drop.parts[-1])
    if ours is None or there is None:
        return False
    return not (
        _is_second_name(there, ours) or (box.find(_marker(str(pair.sequence))) and _is_placeholder(there, ours))
    )


def _is_second_name(there: os.stat_result, ours: os.stat_result) -> bool:
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino) and ours.st_nlink > 1


def _place(box: Folder, stored: str, home: Folder, name: str) -> None:
    """Move a file to a name that is free. A rename would replace what appears there meanwhile, a link never does."""
    if os.name == "nt":  # where a rename replaces nothing
        return box.rename(stored, home, name)
    try:
        box.link(stored, home, name)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        _reserve(box, stored, home, name)
        _replace_placeholder(box, stored, home, name)
    else:
        _drop_second_name(box, stored, home)


def _drop_second_name(box: Folder, stored: str, home: Folder) -> None:
    home.sync()
    box.unlink(stored)
    box.sync()


def _reserve(box: Folder, stored: str, home: Folder, name: str) -> None:
    """Take `name` with an empty file (or folder), and leave a marker in the trash that it is ours."""
    with suppress(FileExistsError):
        os.close(box.create(_marker(stored)))
    if stat.S_ISDIR(box.status(stored).st_mode):
        home.make(name)
    else:
        os.close(home.create(name))


def _replace_placeholder(box: Folder, stored: str, home: Folder, name: str) -> None:
    if not _is_placeholder(home.status(name), ours := box.status(stored)):
        raise Refused(_TAKEN)
    try:
        box.rename(stored, home, name)
    except OSError:
        if _is_placeholder(there := home.status(name), ours):
            (home.remove_folder if stat.S_ISDIR(there.st_mode) else home.unlink)(name)
        raise
    home.sync()
    box.sync()
    box.unlink(_marker(stored))


def _is_placeholder(there: os.stat_result, ours: os.stat_result) -> bool:
    """Whether `there` can be what `_reserve` made for `ours`: an empty file, or a folder for a folder."""
    if stat.S_ISDIR(ours.st_mode):
        return stat.S_ISDIR(there.st_mode)
    return stat.S_ISREG(there.st_mode) and there.st_size == 0


def _marker(stored: str) -> str:
    return f"{stored}.home"


def _checked_name(name: str) -> str:
    if not _RUN_NAME.fullmatch(name):
        raise BadRecord(f"a run's name has up to 64 letters, digits, - and _, got {ascii(name)}")
    return name


def _unused_name(trash: Folder, now: int) -> str:
    name = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    numbered = (f"{name}-{number:03}" for number in range(2, 1000))
    return name if trash.find(name) is None else next(each for each in numbered if trash.find(each) is None)
