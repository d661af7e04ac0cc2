"""Evidence: what is known of files and of pairs of files, gathered in phases before anything is decided.

rows of the embeddings  ->  a `FileRecord` each;  pairs of rows  ->  a `View` each, and what speaks against a removal

A pair that was not gathered is not known: answers depend on the phases only, not on earlier questions.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dedup.clustering.detail import tell_sources
from dedup.clustering.full_resolution import Look, is_looked_at, why_they_stay
from dedup.clustering.members import (
    EXACT,
    NEAR,
    SAME,
    Reason,
    View,
    Why,
    is_out_of_reach,
    seen_by,
    way_back,
    what_is_missing,
)
from dedup.clustering.quality import Details, lost_in_compression, lost_in_toning, read_details
from dedup.contents.companions import goes_with, matched_companions, xmp_beside
from dedup.contents.inventory import Contents, read_all_contents, why_it_stays
from dedup.contents.merging import fields_of, lacking
from dedup.dataset.folder_rules import NOWHERE, Places
from dedup.matching.classification import WHOLE, Match
from dedup.matching.kinds import MatchKind
from dedup.store import NOTHING, Store
from dedup.workers import Lost, attempt

if TYPE_CHECKING:
    from dedup.encoder.embeddings import Embeddings
    from dedup.matching.confirmation import Verifier

NOT_LOOKED_AT = "can't be looked at in full"
NO_MATCH = Reason(Why.INDIRECT, "no match of its own to the kept file")

Pair = tuple[int, int]  # row, and the row that it is compared with: its keeper, or what it may have been made from


@dataclass(frozen=True)
class FileRecord:
    """What is known of one file.

    width, height : px, upright
    bytes, modified : size, and time of the last change in ns; zeros once the file is gone
    details : how well it holds its picture, by its header
    contents : what it holds besides
    preferred : why it stays in any case, so that a file that shows the same should go for it; empty if it may go
    archived : whether it lies in an archive: it is compared, and never goes
    """

    path: Path
    width: int
    height: int
    bytes: int
    modified: int
    details: Details
    contents: Contents
    preferred: str
    archived: bool

    @property
    def pixels(self) -> int:
        """Number of px; 0 for a file that is gone."""
        return self.width * self.height if self.bytes else 0


class Evidence:
    """Files by row number of the embeddings, and pairs of rows; each phase adds to what is known.

    Attributes
    ----------
    files : FileRecord by row
    digests : by row, equal for files with the same bytes; empty where none were taken
    alike : by row, the rows with which a match makes it one version
    made_from : pairs (row, source) where the row was enlarged or saved again from the source
    traced : pairs that were compared for that
    contents, closer : by pair, why the row stays: for what it holds; after a comparison at full resolution
    merges : what is written into the keeper's XMP file before the row goes, of pairs that need it
    paired : pairs whose XMP files go together, one for the other
    """

    def __init__(
        self,
        embeddings: Embeddings,
        verifier: Verifier | None,
        images_dir: Path,
        epsilon: float | None,
        places: Places = NOWHERE,
        facts: Store = NOTHING,
        num_workers: int = 0,
    ):
        self.paths, self.sizes, self.vectors = embeddings.paths, embeddings.sizes, embeddings.vectors
        self.digests = embeddings.contents
        self.verifier, self.images_dir, self.epsilon, self.places = verifier, images_dir, epsilon, places
        self._facts, self._workers = facts, num_workers
        self.files: dict[int, FileRecord] = {}
        self.alike: dict[int, set[int]] = {}
        self.made_from: set[Pair] = set()
        self.traced: set[Pair] = set()
        self.contents: dict[Pair, Reason | None] = {}
        self.merges: dict[Pair, dict[str, list[str]]] = {}
        self.paired: set[Pair] = set()
        self.closer: dict[Pair, Reason | None] = {}

    # The phases

    def read_files(self, rows: Iterable[int]) -> None:
        """Status, header, contents and folder of each file."""
        rows = list(rows)
        contents = read_all_contents([self.paths[row] for row in rows], self._workers, self._facts)
        for row in rows:
            path, (width, height) = self.paths[row], map(int, self.sizes[row])
            try:
                status = os.stat(path)
                size, modified = status.st_size, status.st_mtime_ns
            except OSError:
                size, modified = 0, 0
            found = self._facts.of("details", partial(read_details, path), path)
            details = Details() if isinstance(found, Lost) else Details(*found)
            preferred = self.places.protects(path) or goes_with(path, self.places.root_of(path) or self.images_dir)
            place = preferred, self.places.archive_of(path) > 0
            self.files[row] = FileRecord(path, width, height, size, modified, details, contents[path], *place)

    def match(self, pairs: Iterable[Pair]) -> None:
        """Match pairs of files, in parallel."""
        if self.verifier is None:
            return
        wanted = sorted({(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]})
        self.verifier.match_many([(i, j, self.distance(i, j)) for i, j in wanted])
        alike = defaultdict(set)
        for (i, j), match in self.verifier.matches.items():
            if match.kind in SAME:
                alike[i].add(j)
                alike[j].add(i)
        self.alike = dict(alike)

    def trace(self, pairs: Iterable[Pair]) -> None:
        """Find which files (row, source) were made from the other: saved without loss, enlarged, or saved again."""
        new = sorted(set(pairs) - self.traced)
        self.match(new)
        self.traced.update(new)
        jobs = {}
        for row, source in new:
            view, match = self.view(row, source), self._match(row, source)
            if match is None or not self.is_one_version(row, source):
                continue
            if self.files[row].pixels > self.files[source].pixels:
                jobs[row, source] = self.paths[row], self.paths[source], view.resolution, match.transform
            elif view.kind in EXACT:
                self.made_from.add((row, source))
            else:
                jobs[row, source] = self.paths[row], self.paths[source]
        found = self._facts.of_each("made from", list(jobs.values()), lambda left: tell_sources(left, self._workers))
        self.made_from.update(
            pair for pair, fact in zip(jobs, found, strict=True) if fact and not isinstance(fact, Lost)
        )

    def compare_contents(self, pairs: Iterable[Pair]) -> None:
        """What each row holds beside its picture that its keeper does not; of an edit, whether it has more colours."""
        for row, keeper in pairs:
            if (row, keeper) not in self.contents:
                root = self.places.root_of(self.paths[keeper])
                files = self.files[row], self.files[keeper]
                held = {file.path: file.contents for file in files}
                merge = self.places.merges_beside(self.paths[keeper])
                text = why_it_stays(*held, self.images_dir, root, self._facts, held, merge)
                if merge and not text:
                    text = self._why_unmerged(row, keeper)
                reason = Reason(Why.CONTENTS, text) if text else None
                self.contents[row, keeper] = reason or lost_in_toning(self.view(row, keeper), *held, self._facts)

    def _why_unmerged(self, row: int, keeper: int) -> str:
        """Why what a keeper lacks can't be written into an XMP file beside it; empty if it can."""
        paths = self.paths[row], self.paths[keeper]
        if not lacking(self.files[row].contents.held, self.files[keeper].contents.held):
            with suppress(OSError):  # one of them is gone
                beside = [twin.name for twin, _ in matched_companions(*paths).pairs]
                self.paired |= {(row, keeper)} if xmp_beside(paths[1]) in beside else set()
            return ""
        found = attempt(fields_of, *paths)
        if isinstance(found, Lost):
            found = f"what is to be told beside its keeper can't be read: {found.reason}"
        self.merges |= {} if isinstance(found, str) else {(row, keeper): found}
        return found if isinstance(found, str) else ""

    def look_closer(self, pairs: Iterable[Pair]) -> None:
        """Compare rows with their keepers at full resolution."""
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self.closer]
        looks = {
            (row, keeper): Look(self.paths[row], self.paths[keeper], match.transform, row < keeper, match.kind)
            for row, keeper in new
            if is_looked_at(match := self._match(row, keeper))
        }
        found = self._facts.of_each("closer", list(looks.values()), lambda left: why_they_stay(left, self._workers))
        texts = {
            pair: f"{NOT_LOOKED_AT}: {text.reason}" if isinstance(text, Lost) else text
            for pair, text in zip(looks, found, strict=True)
        }
        self.closer |= {pair: Reason(Why.CLOSER, text) if (text := texts.get(pair)) else None for pair in new}

    # What is known

    def distance(self, i: int, j: int) -> float:
        """Cosine distance in [0, 2]."""
        product = float(self.vectors[i].astype(np.float64) @ self.vectors[j].astype(np.float64))
        return round(min(max(1 - product, 0.0), 2.0), 6)

    def means(self, rows: Sequence[int]) -> dict[int, float]:
        """Mean cosine distance of each row to the others."""
        vectors = self.vectors[list(rows)].astype(np.float64)
        found = np.round(1 - (vectors @ vectors.sum(axis=0) - 1) / max(len(rows) - 1, 1), 6)
        return dict(zip(rows, found.tolist(), strict=True))

    def view(self, row: int, keeper: int) -> View | None:
        """The match of a row with another, None if they have none. A file made from the other counts as no larger."""
        if self.verifier is None:
            if self.distance(row, keeper) > self.epsilon + 1e-6:
                return None
            resolution = (self.files[keeper].pixels / max(self.files[row].pixels, 1)) ** 0.5
            return View(NEAR, 1.0, 1.0, resolution, 0.0, 0.0)
        match = self._match(row, keeper)
        view = match and seen_by(match, row < keeper)
        return view._replace(resolution=1.0) if view and (row, keeper) in self.made_from else view

    def place(self, row: int, keeper: int) -> tuple[float, ...]:
        """The transform of a match from a row to its keeper; empty if there is none."""
        match = self._match(row, keeper)
        if match is None or match.transform is None:
            return ()
        if row < keeper:
            return tuple(match.transform)
        return self._facts.losses.note(attempt(way_back, match.transform), self.paths[row], self.paths[keeper]) or ()

    def is_one_version(self, row: int, other: int) -> bool:
        """Whether two files are the same picture: the same, or saved again."""
        if self.verifier is None:
            return self.view(row, other) is not None
        return other in self.alike.get(row, ())

    def is_exact(self, row: int, other: int) -> bool:
        """Whether two files show the same pixels."""
        view = self.view(row, other)
        return view is not None and view.kind in EXACT

    def covers(self) -> Counter[int]:
        """How many others a row shows all of, among the pairs that were matched so far."""
        matches = self.verifier.matches if self.verifier else ()
        ends = (pair for i, j in matches for pair in ((i, j), (j, i)))
        return Counter(keeper for row, keeper in ends if self.is_covered(row, keeper))

    def is_covered(self, row: int, keeper: int) -> bool:
        """Whether another file shows all of a row."""
        view = self.view(row, keeper)
        return view is not None and what_is_missing(view) is None

    def reason(self, row: int, keeper: int, remove: str) -> Reason | None:
        """Why a row stays at a level of `remove` although there is this keeper; None if it may go."""
        if text := self.places.protects(self.paths[row]):
            return Reason(Why.PROTECTED, text)
        if (view := self.view(row, keeper)) is None:
            return NO_MATCH
        reason = what_is_missing(view) or self.contents.get((row, keeper)) or self._lost_in_compression(row, keeper)
        if reason is None and (text := self.places.protects(self.paths[row], self.paths[keeper])):
            return Reason(Why.NOT_ARCHIVED, text)
        return reason or is_out_of_reach(view.kind, remove) or self.closer.get((row, keeper))

    def is_unseen(self, row: int, keeper: int) -> bool:
        """Whether a row goes for a keeper only after a comparison at full resolution, and that was not made."""
        return (row, keeper) not in self.closer and is_looked_at(self._match(row, keeper))

    def _lost_in_compression(self, row: int, keeper: int) -> Reason | None:
        own, kept = self.files[row].details, self.files[keeper].details
        return None if (row, keeper) in self.made_from else lost_in_compression(self.view(row, keeper), own, kept)

    def _match(self, one: int, other: int) -> Match | None:
        """Files with the same bytes match, whether or not they were compared."""
        if self.verifier is None:
            return None
        if self.digests and self.digests[one] == self.digests[other] != b"":
            return Match(MatchKind.IDENTICAL, self.distance(one, other), transform=WHOLE)
        return self.verifier.matches.get((min(one, other), max(one, other)))
