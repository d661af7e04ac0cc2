"""Removal as a transaction: clusters -> plan.jsonl -> apply (into the trash) -> undo, or purge.

A file is moved to `images_dir/.dedup-trash/<run>/<number>`, on its own disk, right after it and its keeper were found
to hold what the plan says, and comes back if either turns out to be another file then. The run's journal names it
before it moves. Undo and purge go by what lies in the trash and write no journal, so that both can be stopped at any
moment, repeated, and used on a full disk. Only purge destroys.
"""

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from dedup.dataset.folder_rules import DIGEST, NOWHERE, Places
from dedup.deletion.checks import Decoder, look_again, open_roots, read, survey, verify
from dedup.deletion.folders import Folder, Snapshot
from dedup.deletion.journal import encode, plan_header, read_plan
from dedup.deletion.outcome import OF_ONE_FILE, Outcome, Refused, Tally, told
from dedup.deletion.records import KINDS, NO_ARCHIVE, BadRecord, File, Item, Merge, Pair, item_record, split_path
from dedup.deletion.trash import Run, go_home, histories, new_run, open_trash, put_beside, take_away, waiting_runs
from dedup.output import write_whole


def make_plan(
    clusters: Iterable,
    images_dir: Path,
    plan_path: Path,
    read_since: float | None = None,
    contents: Mapping[Path, bytes] | None = None,
    places: Places = NOWHERE,
    known: Callable[[Path, os.stat_result], bytes] = lambda path, status: b"",
) -> Outcome:
    """Write a plan of what `apply_plan` may move: the removable members of `clusters`, each with its own keeper.

    Parameters
    ----------
    clusters : as from `dedup.clustering.clusters.build_clusters`
    read_since : seconds since 1970 at which reading the pictures began; a file that changed later is refused, since it
        may no longer hold what was seen. None: the time is not compared.
    contents : of files that were judged, each beginning with its BLAKE2b digest of 32 bytes; a file that holds another
        is refused, whatever its times say. Of files without one only size and time are compared.
    places : folders whose files never go; archives, in which the keepers lie
    known : gives a file's content from its path and status, beginning with its digest; empty if the file must be read.
        No file is moved because of it: `apply_plan` reads each file

    Returns
    -------
    Outcome : `done` are the files that the plan would move
    """
    from dedup.contents.companions import matched_companions, xmp_beside  # which knows decoders; undo needs none

    clusters, tally, lines = list(clusters), Tally(), [encode(plan_header(len(places.against)))]
    shown = {file.path: file for cluster in clusters for file in (cluster.keeper, *cluster.members)}
    kept = {member.keeper for cluster in clusters for member in cluster.members if member.removable}
    kept |= {cluster.keeper.path for cluster in clusters}
    planned = set()
    with tally.ending():
        with open_roots(images_dir, places.against) as roots:
            for cluster in clusters:
                for member in (member for member in cluster.members if member.removable):
                    keeper = shown[member.keeper]
                    with tally.settling(member.path.relative_to(images_dir)) as done:
                        together, reason = matched_companions(member.path, keeper.path)
                        pairs = ((keeper.path, member.path), *together)
                        keeping, dropping = ({pair[side] for pair in pairs} for side in (0, 1))
                        if dropping & (kept | planned) or keeping & planned or member.kind not in KINDS:
                            raise Refused(f"{member.kind}, or in more than one cluster")
                        if reason := reason or next(filter(None, (places.protects(*pair[::-1]) for pair in pairs)), ""):
                            raise Refused(reason)
                        keep = places.archive_of(keeper.path)
                        files = [
                            _as_seen(roots[archive], each, read_since, contents or {}, archive, known)
                            for each, archive in ((keeper, keep), (member, 0))
                        ]
                        companions = tuple(
                            (_as_found(roots[keep], twin, keep), _as_found(roots[0], path)) for twin, path in together
                        )
                        item = Item(*files, member.kind, companions=companions)
                        if member.merge:
                            item = replace(item, merge=Merge(xmp_beside(keeper.path), member.merge))
                            tally.beside |= {item.before.drop.path} if _with_merge(roots[0], item)[1] else set()
                        lines.append(encode(item_record(item)))
                        tally.bytes += sum(pair.drop.snapshot.size for pair in item.pairs)
                        done += [path.relative_to(images_dir) for _, path in together]
                        planned |= dropping
                        kept |= keeping
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
            kept, joined = survey(roots, items), [_joined(roots[0], item) for item in items]
            named = {file.parts for item in items for pair in item.pairs for file in (pair.keep, pair.drop)}
            with open_trash(roots[0], create=True) as trash, new_run(trash, run) as current:
                tally.run = current.name
                sequence = 1
                for item, reason in zip(items, joined, strict=True):
                    with tally.settling(*(pair.drop.path for pair in item.pairs)):
                        if reason:
                            raise Refused(reason)
                        if item.merge and item.before.drop.parts in named:
                            raise Refused("the XMP file beside its keeper belongs to what the plan keeps or moves")
                        if item.merge and places.protects(roots[0].path / item.before.drop.path):
                            raise Refused("nothing is told beside a keeper in a protected folder")
                        for pair in item.pairs:
                            keeper = roots[pair.keep.archive].path / pair.keep.path
                            if reason := places.protects(roots[0].path / pair.drop.path, keeper):
                                raise Refused(reason)
                        if _move(roots, current, replace(item, sequence=sequence), kept, decoder):
                            tally.beside.add(item.before.drop.path)
                    sequence += item.last + 1
    return tally.outcome()


def undo(images_dir: Path, run: str | None = None) -> Outcome:
    """Put back what a run moved, by default the latest that has files in the trash; never over a file that is there."""
    tally = Tally()
    with tally.ending(), open_roots(images_dir) as (root,), open_trash(root) as trash:
        waiting = waiting_runs(images_dir)
        moving = [each for each in histories(trash, run) if len(each.put_back) < len(each.items)]
        for history in ([each for each in moving if each.run in waiting] or moving)[-1:]:
            tally.run = history.run
            with trash.folder(history.run) as box:
                for item in history.items:
                    is_back = item.sequence in history.put_back
                    if left := [pair for pair in item.pairs if not _is_settled(root, box, pair, is_back)]:
                        with tally.settling(*(pair.drop.path for pair in left)):
                            go_home(root, box, *left)
                # Once all files are home, a different file under an XMP file's name was made later.
                left_there, later = set(), () if history.run in waiting else (Refused,)
                for item in reversed(history.items):  # the last XMP file was made from those before it
                    if not (item.merge and item.merge.new) or item.sequence in history.put_back:
                        continue
                    if (place := item.before.drop.parts) not in left_there:
                        left_there.add(place)
                        with tally.settling(item.before.drop.path) as done:
                            done.clear()  # no file that was moved
                            if all(_is_home(root, pair) for pair in item.pairs):
                                with suppress(*later):
                                    take_away(root, box, item)
                                left_there.remove(place)
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
                    for item in history.items:
                        left = [pair for pair in item.pairs if box.find(str(pair.sequence))]
                        replaced = [item.before] if item.merge and box.find(str(item.before.sequence)) else []
                        if left or replaced:
                            with tally.settling(*(pair.drop.path for pair in left or replaced)):
                                _destroy(roots, box, item, left, decoder)
    return tally.outcome()


def _move(roots: Sequence[Folder], run: Run, item: Item, kept: set[tuple[int, int]], decoder: Decoder) -> bool:
    """Verify, write to the journal, move, look again; a file that is not the verified one goes back, with its item.

    Returns whether an XMP file was written.
    """
    root, seen = roots[0], _verify_all(roots, item.pairs, roots[0], decoder)
    if any(drop.identity in kept for _, drop in seen):
        raise Refused("the plan keeps this very file under another name")
    item, xmp = _with_merge(root, item) if item.merge else (item, b"")
    run.intend(item)
    try:
        if xmp:
            put_beside(root, run.box, item, xmp)
        for pair in item.pairs:
            with root.parent_of(pair.drop.parts) as home:
                home.rename(pair.drop.parts[-1], run.box, str(pair.sequence))
                home.sync()
                run.box.sync()
        _look_again_at_all(roots, item.pairs, run.box, seen)
    except (Refused, OSError) as reason:
        if isinstance(reason, OSError) and reason.errno not in OF_ONE_FILE:
            raise
        _take_back(root, run, item, reason)
    return bool(xmp)


def _joined(root: Folder, item: Item) -> str:
    """Why an item stays if more files belong to it than when it was planned; checked before any move, by names."""
    from dedup.contents.companions import belongs_anew

    try:
        if belongs_anew(root.path / item.drop.path, {root.path / pair.drop.path for pair in item.pairs}):
            return "other files belong to it now than when the plan was made"
    except (FileNotFoundError, NotADirectoryError):  # it is refused for that
        pass
    except OSError as error:
        return f"what belongs to it can't be told: {told(error)}"
    return ""


def _verify_all(
    roots: Sequence[Folder], pairs: Sequence[Pair], place: Folder, decoder: Decoder
) -> list[tuple[Snapshot, Snapshot]]:
    """Verify a picture and its companions. place : the folder that they lie in, images_dir or their run's"""
    found = []
    for pair in pairs:
        if pair.keep.archive >= len(roots):
            raise Refused(NO_ARCHIVE)
        drop = pair.drop if place is roots[0] else _stored(pair)
        with _naming(pair):
            decodes = None if pair.is_companion else decoder
            found.append(verify(roots[pair.keep.archive], pair.keep, place, drop, decodes))
    return found


def _look_again_at_all(roots: Sequence[Folder], pairs: Sequence[Pair], box: Folder, seen: Sequence) -> None:
    for pair, (keep, drop) in zip(pairs, seen, strict=True):
        with _naming(pair):
            look_again(roots[pair.keep.archive], pair.keep, keep, box, _stored(pair), drop)


@contextmanager
def _naming(pair: Pair) -> Iterator[None]:
    """Name the companion that something is refused for: the picture's name is told with the reason."""
    try:
        yield
    except Refused as error:
        raise Refused(f"its companion {ascii(pair.drop.parts[-1])}: {error}" if pair.is_companion else error) from None


def _take_back(root: Folder, run: Run, item: Item, reason: Refused | OSError) -> None:
    """Move files home that should not have been moved, and refuse them for that reason."""
    for pair in item.pairs:
        try:
            if run.box.find(str(pair.sequence)):
                go_home(root, run.box, pair)
        except (Refused, OSError) as error:
            raise Refused(f"{reason}; it stays in the trash as {run.name}/{pair.sequence}: {error}") from None
    if item.merge and item.merge.new:
        take_away(root, run.box, item)
    run.record(back=item.sequence)
    raise reason


def _destroy(roots: Sequence[Folder], box: Folder, item: Item, left: Sequence[Pair], decoder: Decoder) -> None:
    """Verify, look again, unlink. left : of the item, what is in the trash"""
    for pair in item.pairs:
        if pair not in left and _is_home(roots[0], pair):
            raise Refused(f"{ascii(pair.drop.parts[-1])}, which goes with it, is not in the trash; undo the run")
    seen = _verify_all(roots, left, box, decoder)
    if item.merge:
        if _with_merge(roots[0], item)[1]:
            raise Refused("the XMP file beside its keeper no longer tells what it told")
        if box.find(replaced := str(item.before.sequence)):  # first: an undo needs the picture to bring it back
            box.unlink(replaced)
            box.sync()
    _look_again_at_all(roots, left, box, seen)
    for pair in left:
        box.unlink(str(pair.sequence))
        box.sync()


def _with_merge(root: Folder, item: Item) -> tuple[Item, bytes]:
    """An item with the digest of its keeper's new XMP file, and that file's content; empty if it adds nothing."""
    from dedup.contents.merging import Unmergeable, merged

    old, data, name = None, None, item.merge.name
    with root.parent_of(item.keep.parts) as home:
        if home.find(name):
            old, data = home.snapshot(name), home.read(name)  # `put_beside` notices a change in between
    try:
        made = merged(data, item.merge.fields)
    except Unmergeable as error:
        raise Refused(str(error)) from None
    if made == data:
        return replace(item, merge=item.merge._replace(new="", old=None)), b""
    new = hashlib.blake2b(made, digest_size=DIGEST).hexdigest()
    return replace(item, merge=item.merge._replace(new=new, old=old)), made


def _stored(pair: Pair) -> File:
    """A duplicate as it lies in its run's folder."""
    return File((str(pair.sequence),), pair.drop.snapshot)


def _is_home(root: Folder, pair: Pair) -> bool:
    """Whether a file lies, unchanged, where it lay before it was to move."""
    with suppress(Refused):
        return read(root, pair.drop, "it").blake2b == pair.drop.snapshot.blake2b
    return False


def _is_settled(root: Folder, box: Folder, pair: Pair, is_back: bool) -> bool:
    """Whether an undo has nothing to do for a file: it is home, or never left."""
    if box.find(str(pair.sequence)):
        return False
    with suppress(OSError), root.parent_of(pair.drop.parts) as home:
        return is_back or home.find(pair.drop.parts[-1]) is not None
    return is_back


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
    judged = contents.get(member.path, b"")[:DIGEST].hex()  # after the digest the ending may follow
    if judged and judged != snapshot.blake2b:
        raise Refused(f"{'/'.join(parts)} has changed since it was looked at")
    return replace(file, snapshot=snapshot)


def _as_found(root: Folder, path: Path, archive: int = 0) -> File:
    """A companion as a file of a plan."""
    try:
        file = File(split_path(path.relative_to(root.path).as_posix()), Snapshot(0, 0, 0, 0, ""), archive)
    except BadRecord as error:
        raise Refused(str(error)) from None
    return replace(file, snapshot=read(root, file, "a companion"))


def _unread(root: Folder, parts: Sequence[str], path: Path, known: Callable) -> Snapshot | None:
    """A file's snapshot if its content is known without reading the file."""
    with suppress(OSError), root.parent_of(parts) as folder:
        status = folder.status(parts[-1])
        if stat.S_ISREG(status.st_mode) and (content := known(path, status)):
            identity = status.st_dev, status.st_ino
            return Snapshot(*identity, status.st_size, status.st_mtime_ns, content[:DIGEST].hex())
    return None
