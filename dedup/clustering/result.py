"""What a run found, from vectors to clusters."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

from dedup.config import Config
from dedup.dataset.folder_rules import NOWHERE, Places
from dedup.matching.kinds import MatchKind
from dedup.workers import Losses

if TYPE_CHECKING:
    from dedup.clustering.clusters import Cluster
    from dedup.encoder.embeddings import Embeddings
    from dedup.matching.classification import Match


@dataclass(frozen=True)
class Result:
    """What a run found.

    embeddings : of the n files that could be read; the others are in its `failures`
    graph : (n, n) CSR, cosine distances up to `epsilon`, before any was confirmed; if they are to be, of the nearest
    labels : (n,) int, -1 = unique
    matches : by row numbers (i, j), i < j; empty unless config.verify
    clusters : what frees most bytes first
    epsilon : the one used, the encoder's own where config has none
    device : that the encoder ran on; empty if there was nothing to read
    places : folders whose files were preferred as keepers, or never go
    passed_over : folders of other programs that were not searched
    others : how many files were passed over, by their endings; "" = none
    losses : files and pairs that could not be looked at in full, with the reason
    """

    config: Config
    embeddings: Embeddings
    graph: csr_matrix
    labels: np.ndarray
    matches: dict[tuple[int, int], Match]
    clusters: list[Cluster]
    epsilon: float
    device: str
    places: Places = NOWHERE
    passed_over: tuple[Path, ...] = ()
    others: Counter[str] = field(default_factory=Counter)
    losses: Losses = field(default_factory=Losses)

    @property
    def similar(self) -> list[tuple[Path, Path, float]]:
        """Pairs of like pictures that are no copies and in no cluster together, with the distance, nearest first."""
        paths, labels = self.embeddings.paths, self.labels
        is_archived = [self.places.archive_of(path) > 0 for path in paths]
        pairs = sorted(
            (match.distance, paths[i], paths[j])
            for (i, j), match in self.matches.items()
            if match.kind == MatchKind.SIMILAR
            and not labels[i] == labels[j] >= 0
            and not (is_archived[i] and is_archived[j])
        )
        return [(first, second, distance) for distance, first, second in pairs]
