"""Applying decisions. Input: what a user wants removed. Output: what may be removed, in the trash.

A file of decisions is not trusted. A file must hold what it held when the user decided, and each pair is matched again:
a file goes only if its keeper shows all of it, by the same plan and verified moves as everything else.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from dedup.dataset.folder_rules import NOWHERE, Places
from dedup.deletion import removal
from dedup.deletion.checks import open_roots, read
from dedup.deletion.decisions import Content, Named, Pair, Removal, read_decisions
from dedup.deletion.folders import Snapshot
from dedup.deletion.not_duplicates import read_not_duplicates, remember
from dedup.deletion.outcome import SOME_REFUSED, Outcome, Refused, Tally
from dedup.deletion.records import MERGE, File
from dedup.workers import Lost, attempt

if TYPE_CHECKING:
    from dedup.clustering.clusters import Cluster
    from dedup.clustering.versions import Decision


def apply_decisions(
    path: Path,
    images_dir: Path,
    output_dir: Path,
    num_workers: int = 0,
    progress: bool = True,
    places: Places = NOWHERE,
    remove: str = "copies",
) -> tuple[Outcome, int]:
    """Move files to the trash as decided, if a new match of each pair allows it; remember pairs that are no duplicates.

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
        clusters = _clusters(unchanged, roots, tally, num_workers, progress, places, remove)
        files = {file for each in unchanged for file in (each.keep, each.drop)}
        contents = {_path(roots, file): bytes.fromhex(file.content.blake2b) for file in files}
        with tempfile.TemporaryDirectory() as holder:
            plan = Path(holder) / "plan.jsonl"
            planned = removal.make_plan(clusters, images_dir, plan, began, contents, places)
            applied = removal.apply_plan(plan, images_dir, places=places) if planned.done else planned
        refused = (*tally.refused, *(planned.refused if applied is not planned else ()), *applied.refused)
        exit_code = applied.exit_code or SOME_REFUSED * bool(refused)
        return replace(applied, refused=refused, exit_code=exit_code), remembered
    return tally.outcome(), remembered


def _path(roots: Sequence[Path], file: Named) -> Path:
    return roots[file.archive].joinpath(*file.parts)


def _unchanged(
    removals: Sequence[Removal], different: frozenset[Pair], roots: Sequence[Path], tally: Tally
) -> Iterator[Removal]:
    """The removals whose two files are unchanged, reached without a link, and not called different.

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


def _clusters(
    removals: Sequence[Removal],
    roots: Sequence[Path],
    tally: Tally,
    num_workers: int,
    progress: bool,
    places: Places,
    remove: str,
) -> list[Cluster]:
    """The removals that a new match allows, by keeper; the others are refused, as in a run that finds duplicates."""
    from dedup.clustering.clusters import Cluster, examine, member_of
    from dedup.clustering.evidence import NO_MATCH, NOT_LOOKED_AT, Evidence
    from dedup.clustering.versions import decide_for
    from dedup.matching.confirmation import Verifier
    from dedup.store import Store

    removals = sorted(removals)
    held = {_path(roots, file): bytes.fromhex(file.content.blake2b) for each in removals for file in each[:2]}
    rows = {path: row for row, path in enumerate(held)}
    pairs = [(rows[_path(roots, each.drop)], rows[_path(roots, each.keep)]) for each in removals]
    alike = np.ones((len(rows), 1), np.float32)  # no embeddings are needed: the decisions name the pairs
    sizes, contents = np.array([_size(path) for path in rows]), list(held.values())
    seen = SimpleNamespace(paths=list(rows), vectors=alike, sizes=sizes, contents=contents)
    verifier = Verifier(seen.paths, num_workers, progress, contents=contents)

    def decide() -> list[dict[int, Decision]]:
        levels = (each.level or remove for each in removals)
        return [decide_for([pair[0]], pair[1], evidence, level) for pair, level in zip(pairs, levels, strict=True)]

    with Store(has_process=num_workers > 0, losses=verifier.losses) as facts:
        evidence = Evidence(seen, verifier, roots[0], None, places, facts, num_workers)
        evidence.read_files(rows.values())
        evidence.match(pairs)
        verifier.forget_pictures()
        decided = examine(evidence, decide)
        merging = decided
        if not places.merges:  # would merging have helped?
            lacking = [pair for pair, why in evidence.contents.items() if why]
            evidence.places, evidence.contents = replace(places, merges=True), {}
            evidence.compare_contents(lacking)
            merging = decide()
    members = defaultdict(list)
    for each, (row, keeper), found, could in zip(removals, pairs, decided, merging, strict=True):
        reason = found[row].reason
        if lost := verifier.losses.about(seen.paths[row], seen.paths[keeper]):
            reason = f"{NOT_LOOKED_AT}: {lost}"
        elif reason == NO_MATCH:
            reason = "not confirmed to show the same picture as the kept file"
        elif reason and not could[row].reason:
            reason = f"{reason}, and could go with {MERGE}"
        if reason:
            tally.refused.append((Path(*each.drop.parts), str(reason)))
        else:
            members[keeper].append(member_of(evidence, row, 1, found[row]))
    return [Cluster(0, member_of(evidence, keeper, 1, None), tuple(going)) for keeper, going in members.items()]


def _size(path: Path) -> tuple[int, int]:
    """Width and height in px, as stored; zeros if that can't be read."""
    from dedup.dataset.decoding import open_header

    def find() -> tuple[int, int]:
        with open_header(path) as image:
            return image.size

    found = attempt(find)
    return (0, 0) if isinstance(found, Lost) else found
