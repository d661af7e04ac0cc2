"""Checks right before a move. Input: files on record. Output: what they are now, or Refused if they have changed.

A keeper is trusted only if it is another file than the duplicate, holds what is on record, and can be decoded; a
duplicate only if it holds what is on record.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dedup.dataset.folder_rules import TRASH
from dedup.deletion.folders import Folder, NotPlain, Snapshot, is_link
from dedup.deletion.journal import read_plan
from dedup.deletion.outcome import Refused, told
from dedup.deletion.records import BadRecord, File, Item
from dedup.workers import Lost, job, run_apart

LONGEST = 60.0  # seconds for one keeper to be decoded, at full size


@contextmanager
def open_roots(images_dir: Path, archives: Sequence[Path] = ()) -> Iterator[tuple[Folder, ...]]:
    """Open images_dir and the archives: a file lies below the one at its `archive`. BadRecord if one can't be read."""
    with ExitStack() as stack:
        yield tuple([stack.enter_context(_open_root(Path(path))) for path in (images_dir, *archives)])


def _open_root(path: Path) -> Folder:
    if TRASH in Path(os.path.realpath(path)).parts:
        raise BadRecord(f"{ascii(str(path))} lies in a trash folder")
    try:
        return Folder.open(path)
    except OSError as error:
        raise BadRecord(told(error)) from None


def is_spent(plan_path: Path, images_dir: Path, archives: int = 0) -> bool:
    """Whether a plan would move files, and none of them is there now. False if the plan or a file can't be read."""
    with suppress(BadRecord, OSError):
        items = read_plan(plan_path, archives)
        for item in items:
            with suppress(FileNotFoundError, NotADirectoryError):
                os.lstat(Path(images_dir, item.drop.path))
                return False
        return bool(items)
    return False


class Decoder:
    """Checks whether a keeper can be decoded, once for each content."""

    def __init__(self, decodes: Callable[[Path], None] | None):
        self._decodes, self._seen = decodes or _load, set()

    def check(self, path: Path, digest: str) -> None:
        if digest in self._seen:
            return
        try:
            self._decodes(path)
        except Exception as error:
            raise Refused(f"its keeper can't be decoded: {error}") from None
        self._seen.add(digest)


def verify(root: Folder, keep: File, place: Folder, drop: File, decoder: Decoder | None) -> tuple[Snapshot, Snapshot]:
    """Check that keeper and duplicate are two files that hold what is on record, and that the keeper can be decoded.

    decoder : None for companions, which must be equal and need not be pictures
    """
    where = f"its keeper, in archive {keep.archive} of those given," if keep.archive else "its keeper"
    kept, dropped = read(root, keep, where), read(place, drop, "it")
    if kept.identity == dropped.identity:
        raise Refused("it and its keeper are one file")
    for role, now, before in (("its keeper", kept, keep.snapshot), ("it", dropped, drop.snapshot)):
        if now.blake2b != before.blake2b:
            raise Refused(f"{role} no longer holds what it held")
    if decoder:
        decoder.check(root.path / keep.path, kept.blake2b)
    elif kept.blake2b != dropped.blake2b:
        raise Refused("it is not the keeper's")
    return kept, dropped


def read(place: Folder, file: File, role: str) -> Snapshot:
    try:
        with place.parent_of(file.parts) as folder:
            return folder.snapshot(file.parts[-1])
    except OSError as error:
        raise Refused(f"{role} can't be read: {told(error)}") from None


def look_again(root: Folder, keep: File, keeper: Snapshot, place: Folder, drop: File, dropped: Snapshot) -> None:
    """Check that keeper and duplicate are still the files that were verified a moment ago."""
    for role, folder, file, before in (("its keeper", root, keep, keeper), ("it", place, drop, dropped)):
        now = read(folder, file, role)
        if (now.identity, now.blake2b) != (before.identity, before.blake2b):
            raise Refused(f"{role} was changed meanwhile")


def survey(roots: Sequence[Folder], items: Iterable[Item]) -> set[tuple[int, int]]:
    """Identities of all keepers; BadRecord if a path leads over a link. Missing files are refused later."""
    kept = set()
    pairs = [pair for item in items for pair in item.pairs]
    for file, is_keeper in ((file, file is pair.keep) for pair in pairs for file in (pair.keep, pair.drop)):
        try:
            with roots[file.archive].parent_of(file.parts) as folder:
                status = folder.status(file.parts[-1])
            if is_link(status):
                raise NotPlain(0, "a link", file.parts[-1])
        except NotPlain as error:
            raise BadRecord(f"the way to {ascii('/'.join(file.parts))} is {error.strerror}") from None
        except OSError:
            continue
        if is_keeper:
            kept.add((status.st_dev, status.st_ino))
    return kept


def _load(path: Path) -> None:
    """Decode a picture where a decoder that crashes or hangs does no harm."""
    found = run_apart(_why_unreadable, path, time_limit=LONGEST)
    if reason := found.reason if isinstance(found, Lost) else found:
        raise Refused(reason)


@job
def _why_unreadable(path: Path) -> str:
    from dedup.dataset.decoding import UnreadableImage, load_image

    try:
        load_image(path)
    except UnreadableImage as error:
        return str(error)
    return ""
