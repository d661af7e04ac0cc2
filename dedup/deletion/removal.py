"""Removal as a transaction: clusters -> plan.jsonl -> apply (into the trash) -> undo, or purge.

A file is moved to `images_dir/.dedup-trash/<run>/<number>`, on its own disk, right after it and its keeper were found
to hold what the plan says, and comes back if either turns out to be another file then. The run's journal names it
before it moves. Undo and purge go by what lies in the trash and write no journal, so that both can be stopped at any
moment, repeated, and used on a full disk. Only purge destroys.
"""

import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from dedup.dataset.folder_rules import DIGEST, NOWHERE, Places
from dedup.deletion.checks import Decoder, look_again, open_roots, read, survey, verify
from dedup.deletion.folders import Folder, Snapshot
from dedup.deletion.journal import encode, plan_header, read_plan
from dedup.deletion.outcome import OF_ONE_FILE, Outcome, Refused, Tally
from dedup.deletion.records import KINDS, NO_ARCHIVE, BadRecord, File, Item, item_record, split_path
from dedup.deletion.trash import Run, go_home, histories, new_run, open_trash
from dedup.words import write_whole


def make_plan(
    clusters: Iterable,
    images_dir: Path,
    plan_path: Path,
    read_since: float | None = None,
    contents: Mapping[Path, bytes] | None = None,
    places: Places = NOWHERE,
    known: Callable[[Path, os.stat_result], bytes] = lambda path, status: b"",
) -> Outcome:
    """Write down what `apply_plan` may move: the removable members of `clusters`, each with its own cluster's keeper.

    Parameters
    ----------
    clusters : as from `dedup.clustering.clusters.build_clusters`
    read_since : seconds since 1970 at which reading the pictures began; a file that changed later is refused, since it
        may no longer hold what was seen. None: the time is not compared.
    contents : of files that were judged, each beginning with its BLAKE2b digest of 32 bytes; a file that holds another
        is refused, whatever its times say. Of files without one only size and time are compared.
    places : folders whose files never go, and archives, in which the keepers lie
    known : begins with the digest of what a file of this status holds, empty where it has to be read for that. Nothing
        moves by it: `apply_plan` reads each file

    Returns
    -------
    Outcome : `done` are the files that the plan would move
    """
    clusters, tally, lines = list(clusters), Tally(), [encode(plan_header(len(places.against)))]
    kept = {cluster.keeper.path for cluster in clusters}
    planned = set()
    with tally.ending():
        with open_roots(images_dir, places.against) as roots:
            for cluster in clusters:
                for member in (member for member in cluster.members if member.removable):
                    with tally.settling(member.path.relative_to(images_dir)):
                        if member.path in kept | planned or member.kind not in KINDS:
                            raise Refused(f"{member.kind}, or in more than one cluster")
                        if reason := places.protects(member.path, cluster.keeper.path):
                            raise Refused(reason)
                        keep = places.archive_of(cluster.keeper.path)
                        files = [
                            _as_seen(roots[archive], each, read_since, contents or {}, archive, known)
                            for each, archive in ((cluster.keeper, keep), (member, 0))
                        ]
                        lines.append(encode(item_record(Item(*files, member.kind))))
                        planned.add(member.path)
        write_whole(Path(plan_path), b"".join(lines), sync=True)
    return tally.outcome()


def apply_plan(
    plan_path: Path,
    images_dir: Path,
    run: str | None = None,
    decodes: Callable[[Path], None] | None = None,
    places: Places = NOWHERE,
) -> Outcome:
    """Move what the plan drops into the trash, each file right after it and its keeper were verified.

    Parameters
    ----------
    run : a name for the run, not used before; by default the time
    decodes : called with a keeper's path, raises if it can't be shown; by default `dedup.dataset.decoding.load_image`
    places : folders whose files never go, whatever the plan says; the archives it was made against, whose files are
        compared and never touched
    """
    tally, decoder = Tally(), Decoder(decodes)
    with tally.ending():
        items = read_plan(Path(plan_path), len(places.against))
        with open_roots(images_dir, places.against) as roots:
            kept = survey(roots, items)
            with open_trash(roots[0], create=True) as trash, new_run(trash, run) as current:
                tally.run = current.name
                for sequence, item in enumerate(items, start=1):
                    with tally.settling(item.drop.path):
                        keeper = roots[item.keep.archive].path / item.keep.path
                        if reason := places.protects(roots[0].path / item.drop.path, keeper):
                            raise Refused(reason)
                        _move(roots, current, replace(item, sequence=sequence), kept, decoder)
    return tally.outcome()


def undo(images_dir: Path, run: str | None = None) -> Outcome:
    """Put back what a run moved, by default the latest that moved anything; never over a file that is there."""
    tally = Tally()
    with tally.ending(), open_roots(images_dir) as (root,), open_trash(root) as trash:
        moving = [each for each in histories(trash, run) if len(each.put_back) < len(each.items)]
        for history in moving[-1:]:
            tally.run = history.run
            with trash.folder(history.run) as box:
                for item in history.items:
                    if not _is_settled(root, box, item, history.put_back):
                        with tally.settling(item.drop.path):
                            go_home(root, box, item)
    return tally.outcome()


def purge(
    images_dir: Path,
    run: str | None = None,
    older_than: timedelta | None = None,
    decodes: Callable[[Path], None] | None = None,
    places: Places = NOWHERE,
) -> Outcome:
    """Destroy what lies in the trash, of one run or of those older than an age, each file only while its keeper stands.

    A file is refused unless it still holds what was moved, and its keeper, another file, still holds what it held and
    can be decoded.

    Parameters
    ----------
    places : the archives in which keepers lie, in the order of the run that moved the files
    """
    tally, decoder = Tally(), Decoder(decodes)
    tally.run = run
    with tally.ending():
        if run is None and older_than is None:
            raise BadRecord("purge needs a run or an age")
        with open_roots(images_dir, places.against) as roots, open_trash(roots[0]) as trash:
            latest = time.time() - (older_than or timedelta(0)).total_seconds()
            for history in [each for each in histories(trash, run) if older_than is None or each.created <= latest]:
                with trash.folder(history.run) as box:
                    for item in (item for item in history.items if box.find(str(item.sequence))):
                        with tally.settling(item.drop.path):
                            if item.keep.archive >= len(roots):
                                raise Refused(NO_ARCHIVE)
                            _destroy(roots[item.keep.archive], box, item, decoder)
    return tally.outcome()


def _move(roots: Sequence[Folder], run: Run, item: Item, kept: set[tuple[int, int]], decoder: Decoder) -> None:
    """Verify, write down, move, look again; a file that was not the verified one goes back."""
    root, holder = roots[0], roots[item.keep.archive]
    keep, drop = verify(holder, item.keep, root, item.drop, decoder)
    if drop.identity in kept:
        raise Refused("the plan keeps this very file under another name")
    with root.parent_of(item.drop.parts) as home:
        run.intend(item)
        try:
            home.rename(item.drop.parts[-1], run.box, str(item.sequence))
        except OSError as error:
            if error.errno in OF_ONE_FILE:
                run.record(back=item.sequence)
            raise
        home.sync()
        run.box.sync()
    try:
        look_again(holder, item.keep, keep, run.box, _stored(item), drop)
    except Refused as reason:
        _take_back(root, run, item, reason)


def _take_back(root: Folder, run: Run, item: Item, reason: Refused) -> None:
    """Move a file home that should not have been moved, and refuse it for that reason."""
    try:
        go_home(root, run.box, item)
    except (Refused, OSError) as error:
        raise Refused(f"{reason}; it stays in the trash as {run.name}/{item.sequence}: {error}") from None
    run.record(back=item.sequence)
    raise reason


def _destroy(holder: Folder, box: Folder, item: Item, decoder: Decoder) -> None:
    """Verify, look again, unlink. holder : the folder that its keeper lies below"""
    keep, drop = verify(holder, item.keep, box, _stored(item), decoder)
    look_again(holder, item.keep, keep, box, _stored(item), drop)
    box.unlink(str(item.sequence))
    box.sync()


def _stored(item: Item) -> File:
    """A duplicate as it lies in its run's folder."""
    return File((str(item.sequence),), item.drop.snapshot)


def _is_settled(root: Folder, box: Folder, item: Item, put_back: frozenset[int]) -> bool:
    """Tell whether an undo has nothing to do for an item: it is home, or never left."""
    if box.find(str(item.sequence)):
        return False
    with suppress(OSError), root.parent_of(item.drop.parts) as home:
        return item.sequence in put_back or home.find(item.drop.parts[-1]) is not None
    return item.sequence in put_back


def _as_seen(
    root: Folder, member, read_since: float | None, contents: Mapping[Path, bytes], archive: int, known: Callable
) -> File:
    """A cluster's member as a file of a plan; Refused if it is not what was read."""
    try:
        parts = split_path(member.path.relative_to(root.path).as_posix())
    except BadRecord as error:
        raise Refused(str(error)) from None
    file = File(parts, Snapshot(0, 0, 0, 0, ""), archive)
    snapshot = _unread(root, parts, member.path, known) or read(root, file, member.kind)
    with root.parent_of(parts) as folder:
        status = folder.status(parts[-1])
    changed = status.st_mtime if os.name == "nt" else status.st_ctime  # which no program can set back
    if snapshot.size != member.bytes or (read_since is not None and changed > read_since):
        raise Refused(f"{'/'.join(parts)} changed since it was read")
    judged = contents.get(member.path, b"")[:DIGEST].hex()  # what follows is the ending, of formats known by that
    if judged and judged != snapshot.blake2b:
        raise Refused(f"{'/'.join(parts)} has changed since it was looked at")
    return replace(file, snapshot=snapshot)


def _unread(root: Folder, parts: Sequence[str], path: Path, known: Callable) -> Snapshot | None:
    """A file's snapshot if its content is known without reading."""
    with suppress(OSError), root.parent_of(parts) as folder:
        status = folder.status(parts[-1])
        if stat.S_ISREG(status.st_mode) and (content := known(path, status)):
            identity = status.st_dev, status.st_ino
            return Snapshot(*identity, status.st_size, status.st_mtime_ns, content[:DIGEST].hex())
    return None
