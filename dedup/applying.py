"""Applying decisions: what a user wants to go in, what may go in the trash out.

Nothing in a file of decisions is believed. A file must hold what it held when it was decided upon, and each pair is
matched anew: only what its keeper shows all of goes, by the same plan and verified moves as everything else.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from dedup import removal
from dedup.apart import remember
from dedup.decisions import Content, Named, Removal, read_decisions
from dedup.folders import Folder, Snapshot
from dedup.journal import BadRecord, File
from dedup.outcome import SOME_REFUSED, Outcome, Refused, Tally, told
from dedup.places import NOWHERE, Places
from dedup.recheck import read

if TYPE_CHECKING:
    from dedup.verification import Verifier

AT_ONCE = 512  # pairs whose pictures are in memory together


@dataclass(frozen=True)
class _Going:
    """A file as `removal.make_plan` reads it from a cluster."""

    path: Path
    bytes: int
    kind: str = "keeper"
    removable: bool = False


@dataclass(frozen=True)
class _Group:
    keeper: _Going
    members: tuple[_Going, ...]


def apply_decisions(
    path: Path,
    images_dir: Path,
    output_dir: Path,
    num_workers: int = 0,
    progress: bool = True,
    places: Places = NOWHERE,
) -> tuple[Outcome, int]:
    """Move what was decided to the trash, as far as a new match of each pair allows it, and remember what differs.

    Parameters
    ----------
    output_dir : where pairs that are no duplicates are remembered
    num_workers : processes that read and compare; 0 = this one
    progress : show bars on stderr
    places : folders whose files never go, whatever was decided

    Returns
    -------
    Outcome, and how many pairs were given to remember
    """
    tally, began, remembered = Tally(), time.time(), 0
    with tally.ending():
        decisions = read_decisions(path)
        if decisions.different:
            remember(output_dir, decisions.different)
            remembered = len(decisions.different)
        unchanged = list(_unchanged(decisions.removals, images_dir, tally))
        groups = _groups(unchanged, images_dir, tally, num_workers, progress, places)
        files = {file for each in unchanged for file in each}
        contents = {images_dir.joinpath(*file.parts): bytes.fromhex(file.content.blake2b) for file in files}
        with tempfile.TemporaryDirectory() as holder:
            plan = Path(holder) / "plan.jsonl"
            planned = removal.make_plan(groups, images_dir, plan, began, contents)
            applied = removal.apply_plan(plan, images_dir, places=places) if planned.done else planned
        refused = (*tally.refused, *(planned.refused if applied is not planned else ()), *applied.refused)
        exit_code = applied.exit_code or SOME_REFUSED * bool(refused)
        return replace(applied, refused=refused, exit_code=exit_code), remembered
    return tally.outcome(), remembered


def _unchanged(removals: Sequence[Removal], images_dir: Path, tally: Tally) -> Iterator[Removal]:
    """The removals whose two files, reached without a link, hold what they held; the others are refused."""
    try:
        root = Folder.open(images_dir)
    except OSError as error:
        raise BadRecord(told(error)) from None
    held: dict[tuple[str, ...], Content] = {}
    with root:
        for each in removals:
            try:
                for role, file in (("its keeper", each.keep), ("it", each.drop)):
                    if file.parts not in held:
                        now = read(root, File(file.parts, Snapshot(0, 0, 0, 0, "")), role)
                        held[file.parts] = Content(now.size, now.blake2b)
                    if held[file.parts] != file.content:
                        raise Refused(f"{role} no longer holds what it held")
            except Refused as reason:
                tally.refused.append((Path(*each.drop.parts), str(reason)))
            else:
                yield each


def _groups(
    removals: Sequence[Removal], images_dir: Path, tally: Tally, num_workers: int, progress: bool, places: Places
) -> list[_Group]:
    """The removals that a new match allows, by keeper; the others are refused."""
    from dedup.safeguards import why_it_stays

    members: dict[Named, list[_Going]] = {}
    for each, kind, missing in _matched(removals, images_dir, num_workers, progress):
        keeper, drop = (images_dir.joinpath(*file.parts) for file in each)
        if reason := places.protects(drop) or missing or why_it_stays(drop, keeper, images_dir):
            tally.refused.append((drop.relative_to(images_dir), reason))
        else:
            members.setdefault(each.keep, []).append(_Going(drop, each.drop.content.size, kind, removable=True))
    return [
        _Group(_Going(images_dir.joinpath(*keep.parts), keep.content.size), tuple(going))
        for keep, going in members.items()
    ]


def _matched(
    removals: Sequence[Removal], images_dir: Path, num_workers: int, progress: bool
) -> Iterator[tuple[Removal, str, str]]:
    """Each removal with the kind of its match, and what its keeper does not show of it."""
    from dedup.verification import Verifier

    files = sorted({file.parts for each in removals for file in each})
    rows = {parts: row for row, parts in enumerate(files)}
    verifier = Verifier([images_dir.joinpath(*parts) for parts in files], num_workers, progress=False)
    by_keeper = iter(sorted(removals))
    with tqdm(total=len(removals), desc="Confirming", unit=" pairs", disable=not progress) as bar:
        while batch := list(itertools.islice(by_keeper, AT_ONCE)):
            apart = [each for each in batch if each.keep.content != each.drop.content]
            pairs = {each: (rows[each.drop.parts], rows[each.keep.parts]) for each in apart}
            verifier.match_many([(*pair, 0.0) for pair in pairs.values()])
            verifier.forget_pictures()
            found = _compared(verifier, list(pairs.values()))
            bar.update(len(batch))
            for each in batch:
                yield each, *(found[pairs[each]] if each in pairs else ("identical", ""))


def _compared(verifier: Verifier, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], tuple[str, str]]:
    """By pair (row, keeper's row), its kind and what its keeper does not show of it, also on a closer look."""
    from dedup.lastlook import is_looked_at, why_they_stay
    from dedup.members import seen_by, what_is_missing
    from dedup.traces import shows_no_more

    found, looks = {}, {}
    for row, keeper in pairs:
        match = verifier.matches.get((min(row, keeper), max(row, keeper)))
        if match is None:
            found[row, keeper] = "", "not confirmed to show the same picture as the kept file"
            continue
        view, files = seen_by(match, is_first=row < keeper), (verifier.paths[row], verifier.paths[keeper])
        if shows_no_more(*files, view.resolution, match.transform):
            view = view._replace(resolution=1.0)
        found[row, keeper] = match.kind, what_is_missing(view)
        if not found[row, keeper][1] and is_looked_at(match):
            looks[row, keeper] = *files, match.transform, row < keeper
    for pair, reason in zip(looks, why_they_stay(list(looks.values()), verifier.num_workers), strict=True):
        found[pair] = found[pair][0], reason
    return found
