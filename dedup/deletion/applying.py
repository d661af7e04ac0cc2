"""Applying decisions: what a user wants to go in, what may go in the trash out.

Nothing in a file of decisions is believed. A file must hold what it held when it was decided upon, and each pair is
matched anew: only what its keeper shows all of goes, by the same plan and verified moves as everything else.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from dedup.dataset.folder_rules import NOWHERE, Places
from dedup.deletion import removal
from dedup.deletion.checks import open_roots, read
from dedup.deletion.decisions import Content, Named, Pair, Removal, read_decisions
from dedup.deletion.folders import Snapshot
from dedup.deletion.not_duplicates import read_not_duplicates, remember
from dedup.deletion.outcome import SOME_REFUSED, Outcome, Refused, Tally
from dedup.deletion.records import File
from dedup.workers import Lost

if TYPE_CHECKING:
    from dedup.clustering.members import View
    from dedup.matching.classification import Match
    from dedup.matching.confirmation import Verifier

PAIRS_AT_ONCE = 512  # pairs whose pictures are in memory together


@dataclass(frozen=True)
class _Going:
    """A file as `removal.make_plan` reads it from a cluster."""

    path: Path
    bytes: int
    kind: str = "keeper"
    keeper: Path | None = None

    @property
    def removable(self) -> bool:
        return self.keeper is not None


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
    remove: str = "copies",
) -> tuple[Outcome, int]:
    """Move what was decided to the trash, as far as a new match of each pair allows it, and remember what differs.

    Parameters
    ----------
    output_dir : where pairs that are no duplicates are remembered
    num_workers : processes that read and compare; 0 = this one
    progress : show bars on stderr
    places : folders whose files never go, whatever was decided; the archives that were compared with
    remove : exact, copies or edits: how far removal goes where a decision has no level of its own

    Returns
    -------
    Outcome, and how many pairs were given to remember
    """
    tally, began, remembered = Tally(), time.time(), 0
    with tally.ending():
        decisions = read_decisions(path, len(places.against))
        roots = images_dir, *places.against
        if decisions.different:
            remember(output_dir, decisions.different)
            remembered = len(decisions.different)
        different = decisions.different | read_not_duplicates(output_dir)
        unchanged = list(_unchanged(decisions.removals, different, roots, tally))
        groups = _groups(unchanged, roots, tally, num_workers, progress, places, remove)
        files = {file for each in unchanged for file in (each.keep, each.drop)}
        contents = {_path(roots, file): bytes.fromhex(file.content.blake2b) for file in files}
        with tempfile.TemporaryDirectory() as holder:
            plan = Path(holder) / "plan.jsonl"
            planned = removal.make_plan(groups, images_dir, plan, began, contents, places)
            applied = removal.apply_plan(plan, images_dir, places=places) if planned.done else planned
        refused = (*tally.refused, *(planned.refused if applied is not planned else ()), *applied.refused)
        exit_code = applied.exit_code or SOME_REFUSED * bool(refused)
        return replace(applied, refused=refused, exit_code=exit_code), remembered
    return tally.outcome(), remembered


def _files(removals: Sequence[Removal], roots: Sequence[Path]) -> list[Path]:
    return sorted({_path(roots, file) for each in removals for file in (each.keep, each.drop)})


def _path(roots: Sequence[Path], file: Named) -> Path:
    return roots[file.archive].joinpath(*file.parts)


def _unchanged(
    removals: Sequence[Removal], different: frozenset[Pair], roots: Sequence[Path], tally: Tally
) -> Iterator[Removal]:
    """The removals whose two files, reached without a link, hold what they held, and were not called different.

    The others are refused.
    """
    held: dict[Path, Content] = {}
    with open_roots(roots[0], roots[1:]) as folders:
        for each in removals:
            try:
                for role, file in (("its keeper", each.keep), ("it", each.drop)):
                    path = _path(roots, file)
                    if path not in held:
                        now = read(folders[file.archive], File(file.parts, Snapshot(0, 0, 0, 0, "")), role)
                        held[path] = Content(now.size, now.blake2b)
                    if held[path] != file.content:
                        raise Refused(f"{role} no longer holds what it held")
                if tuple(sorted((each.keep.content, each.drop.content))) in different:
                    raise Refused("somebody said that it is no duplicate of its keeper")
            except Refused as reason:
                tally.refused.append((Path(*each.drop.parts), str(reason)))
            else:
                yield each


def _groups(
    removals: Sequence[Removal],
    roots: Sequence[Path],
    tally: Tally,
    num_workers: int,
    progress: bool,
    places: Places,
    remove: str,
) -> list[_Group]:
    """The removals that a new match allows, by keeper; the others are refused."""
    from dedup.contents.inventory import read_all_contents, why_it_stays

    told = read_all_contents(_files(removals, roots), num_workers)
    members: dict[Named, list[_Going]] = {}
    for each, kind, missing in _matched(removals, roots, num_workers, progress, remove):
        keeper, drop = _path(roots, each.keep), _path(roots, each.drop)
        reason = places.protects(drop, keeper) or missing
        if reason := reason or why_it_stays(drop, keeper, roots[0], roots[each.keep.archive], told=told):
            tally.refused.append((drop.relative_to(roots[0]), reason))
        else:
            members.setdefault(each.keep, []).append(_Going(drop, each.drop.content.size, kind, keeper))
    return [_Group(_Going(_path(roots, keep), keep.content.size), tuple(going)) for keep, going in members.items()]


def _matched(
    removals: Sequence[Removal], roots: Sequence[Path], num_workers: int, progress: bool, remove: str
) -> Iterator[tuple[Removal, str, str]]:
    """Each removal with the kind of its match, and why it stays; empty if it may go."""
    from dedup.matching.confirmation import Verifier

    files = _files(removals, roots)
    rows = {path: row for row, path in enumerate(files)}
    verifier = Verifier(files, num_workers, progress=False)
    by_keeper = iter(sorted(removals))
    with tqdm(total=len(removals), desc="Confirming", unit=" pairs", disable=not progress) as bar:
        while batch := list(itertools.islice(by_keeper, PAIRS_AT_ONCE)):
            apart = [each for each in batch if each.keep.content != each.drop.content]
            pairs = {each: (rows[_path(roots, each.drop)], rows[_path(roots, each.keep)]) for each in apart}
            verifier.match_many([(*pair, 0.0) for pair in pairs.values()])
            verifier.forget_pictures()
            found = _compared(verifier, {pair: each.level or remove for each, pair in pairs.items()})
            bar.update(len(batch))
            for each in batch:
                yield each, *(found[pairs[each]] if each in pairs else ("identical", ""))


def _compared(verifier: Verifier, pairs: Mapping[tuple[int, int], str]) -> dict[tuple[int, int], tuple[str, str]]:
    """By pair (row, keeper's row), its kind and why it stays: what its keeper lacks, its level, or a closer look.

    pairs : with the level of each
    """
    from dedup.clustering.evidence import NOT_LOOKED_AT
    from dedup.clustering.full_resolution import is_looked_at, why_they_stay
    from dedup.clustering.members import is_out_of_reach, what_is_missing
    from dedup.clustering.quality import lost_in_compression, lost_in_toning, read_details

    views, found, looks = _views(verifier, list(pairs)), {}, {}
    for (row, keeper), level in pairs.items():
        files = verifier.paths[row], verifier.paths[keeper]
        if lost := verifier.losses.about(*files):
            found[row, keeper] = "", f"{NOT_LOOKED_AT}: {lost}"
            continue
        if (row, keeper) not in views:
            found[row, keeper] = "", "not confirmed to show the same picture as the kept file"
            continue
        match, view, is_made_from = views[row, keeper]
        reason = (
            what_is_missing(view)
            or (None if is_made_from else lost_in_compression(view, *map(read_details, files)))
            or is_out_of_reach(view.kind, level)
            or lost_in_toning(view, *files)
        )
        found[row, keeper] = match.kind, str(reason or "")
        if reason is None and is_looked_at(match):
            looks[row, keeper] = *files, match.transform, row < keeper, match.kind
    for pair, reason in zip(looks, why_they_stay(list(looks.values()), verifier.num_workers), strict=True):
        found[pair] = found[pair][0], f"{NOT_LOOKED_AT}: {reason.reason}" if isinstance(reason, Lost) else reason
    return found


def _views(verifier: Verifier, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], tuple[Match, View, bool]]:
    """Of the pairs that match: the match, as the row sees its keeper, and whether it was made from that."""
    from dedup.clustering.detail import tell_sources
    from dedup.clustering.members import COVERED, seen_by

    found, jobs = {}, []
    for row, keeper in pairs:
        if match := verifier.matches.get((min(row, keeper), max(row, keeper))):
            view = seen_by(match, is_first=row < keeper)
            found[row, keeper] = match, view
            enlarged = (view.resolution, match.transform) if view.resolution < COVERED else ()
            jobs.append((verifier.paths[row], verifier.paths[keeper], *enlarged))
    made_from = (told is True for told in tell_sources(jobs, verifier.num_workers))
    return {
        pair: (match, view._replace(resolution=1.0) if is_made else view, is_made)
        for (pair, (match, view)), is_made in zip(found.items(), made_from, strict=True)
    }
