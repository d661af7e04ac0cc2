"""Pairs of files by row number: embeddings and a verifier in, Member, View and traces out, each found once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dedup.clustering.contents import why_it_stays
from dedup.clustering.crop_provenance import may_be_cut_from
from dedup.clustering.files import Files
from dedup.clustering.full_resolution import is_looked_at, why_they_stay
from dedup.clustering.jpeg_forensics import is_laid_alike
from dedup.clustering.jpeg_steps import is_turned
from dedup.clustering.members import COLOURED, LACKS_COLOURS, Member, View, seen_by, way_back, what_is_missing
from dedup.clustering.monochrome import COLOURFUL
from dedup.clustering.quality import STRONG
from dedup.clustering.resaving import how_they_were_made, show_no_more
from dedup.dataset.folder_rules import NOT_ARCHIVED, NOWHERE, Places
from dedup.matching.classification import TWINS
from dedup.store import NOTHING, Store
from dedup.workers import Lost, attempt, step

if TYPE_CHECKING:
    from dedup.encoder.embeddings import Embeddings
    from dedup.matching.confirmation import Match, Verifier

MADE, ENLARGED = "how made", "enlarged"  # kinds of facts
LARGER = 1.5  # px of a keeper for each px along a side from which its compression matters less
LESS_COMPRESSED = "is far less compressed than the kept file"
NOT_LOOKED_AT = "can't be looked at in full"
AS_NEAR = 1e-4  # difference of cosine distances that says nothing


class Pairs(Files):
    """Files, and pairs of files, by row number of the embeddings; each is looked at once."""

    def __init__(
        self,
        embeddings: Embeddings,
        verifier: Verifier | None,
        images_dir: Path,
        epsilon: float | None,
        places: Places = NOWHERE,
        facts: Store = NOTHING,
    ):
        super().__init__(embeddings.paths, embeddings.sizes, places, facts)
        self.vectors, self.verifier, self.images_dir, self.epsilon = embeddings.vectors, verifier, images_dir, epsilon
        self._workers, self._losses = verifier.num_workers if verifier else 0, facts.losses
        self._members: dict[tuple[int, int], Member] = {}
        self._enlarged: dict[tuple[int, int], bool] = {}
        self._made: dict[tuple[int, int], str] = {}
        self._closer: dict[tuple[int, int], str] = {}  # why it stays, of pairs that had a closer look

    @cached_property
    def covered_by(self) -> Counter[int]:
        """How many others a row shows all of, among the pairs matched so far."""
        matches = self.verifier.matches.items() if self.verifier else ()
        firsts = (first for (first, second), match in matches if not what_is_missing(seen_by(match, is_first=False)))
        seconds = (second for (first, second), match in matches if not what_is_missing(seen_by(match, is_first=True)))
        return Counter((*firsts, *seconds))

    def match_all(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Match many pairs of rows at once, in parallel."""
        if self.verifier:
            wanted = sorted({(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]})
            self.verifier.match_many([(i, j, self.distance(i, j)) for i, j in wanted])

    def distance(self, i: int, j: int) -> float:
        """Cosine distance in [0, 2]."""
        product = float(self.vectors[i].astype(np.float64) @ self.vectors[j].astype(np.float64))
        return round(min(max(1 - product, 0.0), 2.0), 6)

    def means(self, rows: Sequence[int]) -> dict[int, float]:
        """Mean cosine distance of each row to the others."""
        vectors = self.vectors[list(rows)].astype(np.float64)
        found = np.round(1 - (vectors @ vectors.sum(axis=0) - 1) / max(len(rows) - 1, 1), 6)
        return dict(zip(rows, found.tolist(), strict=True))

    def votes(self, one: int, other: int, rows: Sequence[int]) -> float:
        """How many more of the rows are nearer to `one` than to `other`, as a share of the rows, -1 to 1."""
        vectors = self.vectors[[row for row in rows if row not in (one, other)]].astype(np.float64)
        nearer = vectors @ (self.vectors[one].astype(np.float64) - self.vectors[other])  # (rows,)
        return float(np.sign(np.where(np.abs(nearer) > AS_NEAR, nearer, 0)).mean()) if len(nearer) else 0.0

    def is_enlarged(self, larger: int, smaller: int) -> bool:
        """Whether the larger of two matched files shows no more detail than the smaller; then it may go for it."""
        if (larger, smaller) not in self._enlarged:
            self.enlarge_all([(larger, smaller)])
        return self._enlarged[larger, smaller]

    def enlarge_all(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Find what `is_enlarged` tells of many pairs (larger, smaller) at once, in parallel."""
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self._enlarged]
        jobs = {}
        for larger, smaller in new:
            view, match = self.view(smaller, larger), self._match(smaller, larger)
            if view is not None and match is not None:
                given = 1 / max(view.resolution, 1e-6), match.transform
                jobs[larger, smaller] = self.paths[larger], self.paths[smaller], *given
        found = self._found_of(ENLARGED, jobs, show_no_more)
        self._enlarged.update({pair: bool(found.get(pair)) for pair in new})
        for pair in new:
            self._members.pop(pair, None)

    def _found_of(self, kind: str, jobs: dict[tuple[int, int], tuple], find: Callable) -> dict[tuple[int, int], Any]:
        """Facts of pairs, remembered or found in parallel; a job is both paths, and what else decides the fact."""
        given = {pair: {"given": job[2:]} if job[2:] else {} for pair, job in jobs.items()}
        known = {pair: self._facts.get(kind, *job[:2], **given[pair]) for pair, job in jobs.items()}
        left = [pair for pair, fact in known.items() if fact is None]
        for pair, fact in zip(left, find([jobs[pair] for pair in left], self._workers), strict=True):
            known[pair] = self._losses.note(fact, *jobs[pair][:2])
            if not isinstance(fact, Lost):
                self._facts.keep(kind, fact, *jobs[pair][:2], **given[pair])
        return known

    def how_made(self, finer: int, coarser: int) -> str:
        """How the less compressed of two matched files was made from the other; see `traces.how_made`."""
        if (finer, coarser) not in self._made:
            self.trace_all([(finer, coarser)])
        return self._made[finer, coarser]

    def trace_all(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Find what `how_made` tells of many pairs (finer, coarser) at once, in parallel."""
        new, jobs = [pair for pair in dict.fromkeys(pairs) if pair not in self._made], {}
        for finer, coarser in new:
            turn = self._turn(finer, coarser) if self.details(coarser).step else None
            if turn is not None:
                jobs[finer, coarser] = self.paths[finer], self.paths[coarser], *turn
        made = self._found_of(MADE, jobs, how_they_were_made)
        self._made.update({pair: made.get(pair) or "" for pair in new})

    def _turn(self, finer: int, coarser: int) -> tuple[tuple[int, ...], ...] | None:
        """What a trace needs beside the paths: how the finer is turned, if it is; None where they share no px."""
        if self.are_laid_alike(finer, coarser):
            return ()
        place = self._place(coarser, finer)
        if not place or not self.are_of_one_size(finer, coarser) or not is_turned(place):
            return None
        return (tuple(np.round(place).astype(int).tolist()),)

    def is_edit(self, one: int, other: int) -> bool:
        """Whether one of two files is the other turned, mirrored or toned, as far as that was looked for."""
        return "edited" in (self._made.get((one, other)), self._made.get((other, one))) or bool(self._turn(one, other))

    def are_laid_alike(self, one: int, other: int) -> bool:
        """Whether two matched files are of one size and show the same at the same place."""
        match, same_size = self._match(one, other), (self.sizes[one] == self.sizes[other]).all()
        return bool(same_size and match is not None and is_laid_alike(match.transform))

    def may_be_cut_from(self, part: int, whole: int) -> bool:
        """Whether a file that shows a part of another, as large, may have been cut out of it."""
        place = self._place(part, whole)
        paths = self.paths[part], self.paths[whole]
        if not place:
            return True
        found = self._facts.of("cut", partial(may_be_cut_from, *paths, place), *paths, given=place)
        return isinstance(found, Lost) or found

    def _match(self, one: int, other: int) -> Match | None:
        return self.verifier.matches.get((min(one, other), max(one, other))) if self.verifier else None

    def view(self, row: int, keeper: int) -> View | None:
        """The match of a row with its keeper, None if they have none; of pairs that were matched already."""
        if self.verifier:
            match = self._match(row, keeper)
            view = match and seen_by(match, row < keeper)
            return view._replace(resolution=1.0) if view and self._enlarged.get((row, keeper)) else view
        if self.distance(row, keeper) > self.epsilon + 1e-6:
            return None
        resolution = (self.pixels(keeper) / max(self.pixels(row), 1)) ** 0.5
        return View("near", 1.0, 1.0, resolution, 0.0, 0.0)

    def member(self, row: int, keeper: int) -> Member:
        """A row as a member of its keeper's cluster; it stays where a job on the two was lost."""
        if (row, keeper) not in self._members:
            paths = self.paths[row], self.paths[keeper]
            found = self._losses.note(attempt(self._compared, row, keeper), *paths)
            untold = {"kind": "indirect", "coverage": 0.0, "reason": f"{NOT_LOOKED_AT}: {self._losses.about(*paths)}"}
            self._members[row, keeper] = found or replace(self._alone(row), **untold)
        found = self._members[row, keeper]
        lost = found.removable and self._losses.about(found.path, self.paths[keeper])
        return replace(found, removable=False, reason=f"{NOT_LOOKED_AT}: {lost}") if lost else found

    def is_covered(self, row: int, keeper: int) -> bool:
        """Whether a row may go for a keeper, or might if that one lay in an archive."""
        member = self.member(row, keeper)
        return member.removable or member.reason == NOT_ARCHIVED

    def look_closer(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Have those rows stay that a closer look finds to show more than their keeper; pairs are (row, keeper)."""
        new = [pair for pair in pairs if pair[0] != pair[1] and pair not in self._closer]
        going = [pair for pair in new if self.member(*pair).removable]
        jobs = {
            (row, keeper): (self.paths[row], self.paths[keeper], match.transform, row < keeper)
            for row, keeper in going
            if is_looked_at(match := self._match(row, keeper))
        }
        known = {pair: self._facts.get("closer", *job[:2], given=job[2:]) for pair, job in jobs.items()}
        looks = {pair: job for pair, job in jobs.items() if known[pair] is None}
        found = why_they_stay(list(looks.values()), self._workers) if looks else ()
        for (pair, job), reason in zip(looks.items(), found, strict=True):
            known[pair] = self._losses.note(reason, *job[:2])
            if not isinstance(reason, Lost):
                self._facts.keep("closer", reason, *job[:2], given=job[2:])
        for pair, reason in (known | self._lost_in_compression(going)).items():
            self._closer[pair] = reason or ""
            if reason:
                del self._members[pair]

    def _lost_in_compression(self, pairs: Iterable[tuple[int, int]]) -> dict[tuple[int, int], str]:
        """Why files stay whose keeper, at about their size, is strongly compressed, unless they were saved from it."""
        coarse = []
        for row, keeper in pairs:
            own, kept, view = self.details(row).step, self.details(keeper).step, self.view(row, keeper)
            if kept >= max(STRONG, 2 * own) and view.resolution < LARGER and view.kind not in TWINS:
                coarse.append((row, keeper))
        self.trace_all(coarse)
        return {pair: LESS_COMPRESSED for pair in coarse if self.how_made(*pair) != "saved again"}

    def _lost_in_tone(self, view: View, row: int, keeper: int) -> str:
        """Why a file with colours stays where its keeper has but a tone, as of sepia; empty if that is not so."""
        if view.kind not in ("edited", "resaved", "crop") or min(view.chroma, view.kept_chroma) <= COLOURED:
            return ""
        return LACKS_COLOURS if self.is_toned(keeper) and self.own_colours(row) >= COLOURFUL else ""

    def _place(self, row: int, keeper: int) -> tuple[float, ...]:
        """The transform of a match from a row to its keeper; empty if there is none."""
        match = self._match(row, keeper)
        if match is None or match.transform is None:
            return ()
        return tuple(match.transform) if row < keeper else way_back(match.transform)

    def _alone(self, row: int) -> Member:
        """A row as a keeper."""
        width, height = map(int, self.sizes[row])
        return Member(self.paths[row], width, height, self.file(row)[0], 0.0, "keeper", 1.0, False, "")

    @step
    def _compared(self, row: int, keeper: int) -> Member:
        seen = self._alone(row)
        if row == keeper:
            return seen
        view = self.view(row, keeper) or View("indirect", 0.0, 0.0, 0.0, 0.0, 0.0)
        files = self.paths[row], self.paths[keeper]
        reason = self.places.protects(files[0]) or what_is_missing(view) or self._lost_in_tone(view, row, keeper)
        reason = reason or why_it_stays(*files, self.images_dir, self.places.root_of(files[1]), self._facts)
        reason = reason or self._closer.get((row, keeper), "")
        reason = reason or self.places.protects(*files)  # last, so that `is_covered` knows what else is against it
        found = {"distance": self.distance(row, keeper), "kind": view.kind, "coverage": view.coverage}
        found["place"] = self._place(row, keeper)
        return replace(seen, removable=not reason, reason=reason, **found)
