"""Files by row number of the embeddings: what their headers, folders and colours tell, each found once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from dedup.clustering.monochrome import TONED, UNTOLD, own_colours
from dedup.clustering.quality import Details, told_details
from dedup.dataset.folder_rules import NOWHERE, Places
from dedup.store import NOTHING, Store
from dedup.workers import Lost


class Files:
    """n files, and what is known of each.

    Parameters
    ----------
    paths, sizes : (n,), and (n, 2) int width and height in px
    places : folders that are preferred, or archives
    facts : what is remembered of the files' contents
    """

    def __init__(self, paths: Sequence[Path], sizes: np.ndarray, places: Places = NOWHERE, facts: Store = NOTHING):
        self.paths, self.sizes, self.places, self._facts = paths, sizes, places, facts
        self._files: dict[int, tuple[int, int]] = {}
        self._details: dict[int, Details] = {}
        self._colours: dict[int, float] = {}

    def pixels(self, row: int) -> int:
        return int(self.sizes[row].prod())

    def by_quality(self, row: int) -> tuple[float, int, int]:
        """To sort by: the least compressed first, then the oldest, then by path."""
        size, modified = self.file(row)
        return -size / max(self.pixels(row), 1), modified, row

    def file(self, row: int) -> tuple[int, int]:
        """Bytes and time of the last change in ns; zeros once it is gone."""
        if row not in self._files:
            try:
                status = os.stat(self.paths[row])
                self._files[row] = status.st_size, status.st_mtime_ns
            except OSError:
                self._files[row] = 0, 0
        return self._files[row]

    def archived(self, row: int) -> bool:
        """Whether it lies in an archive: it is compared, and never goes."""
        return self.places.archive_of(self.paths[row]) > 0

    def preferred(self, row: int) -> str:
        """Why a file should stay rather than one that shows the same; empty if there is no such reason."""
        return self.places.prefers(self.paths[row])

    def details(self, row: int) -> Details:
        """What its header tells, read once."""
        if row not in self._details:
            found = self._facts.of("details", partial(told_details, self.paths[row]), self.paths[row])
            known = found and not isinstance(found, Lost)
            self._details[row] = Details(*found[:-1], frozenset(found[-1])) if known else Details()
        return self._details[row]

    def is_toned(self, row: int) -> bool:
        """Whether its colours follow its lightness alone."""
        return self.own_colours(row) <= TONED

    def own_colours(self, row: int) -> float:
        """Share of its chroma that its lightness leaves unexplained."""
        if row not in self._colours:
            found = self._facts.of("own colours", partial(own_colours, self.paths[row]), self.paths[row])
            self._colours[row] = UNTOLD if isinstance(found, Lost) else found
        return self._colours[row]

    def are_of_one_size(self, one: int, other: int) -> bool:
        """Whether two files have as many px along both sides, upright or turned."""
        return bool((np.sort(self.sizes[one]) == np.sort(self.sizes[other])).all())
