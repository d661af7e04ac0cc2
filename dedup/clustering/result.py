"""What a run found, from vectors to clusters, and what follows from that: similar pairs, leaks, series of shots."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from dedup.clustering.members import EXACT, INDIRECT, LEVELS, NEAR
from dedup.clustering.quality import shot_quality
from dedup.config import Config
from dedup.contents.inventory import Contents, capture_time, read_all_contents
from dedup.contents.metadata import FRACTION
from dedup.dataset.folder_rules import NOWHERE, Places
from dedup.matching.kinds import MatchKind
from dedup.store import NOTHING, Store
from dedup.workers import Losses, Lost, run_jobs

if TYPE_CHECKING:
    from dedup.clustering.clusters import Cluster
    from dedup.encoder.embeddings import Embeddings
    from dedup.matching.classification import Match

NEXT_SHOT = 60.0  # seconds from one shot of a series to the next, at most


class Leak(NamedTuple):
    """A file that shows what the archive has: for example a training picture that is also in the test set.

    twin : of the archive's files that it matches one with another label, if there is any; of these the surest match
    label, twin_label : their folders, directly below images_dir and the archive, as data sets name classes; empty if
        they lie in none
    """

    path: Path
    kind: str
    twin: Path
    label: str
    twin_label: str

    @property
    def has_other_label(self) -> bool:
        return self.label != self.twin_label and bool(self.label and self.twin_label)


class Shot(NamedTuple):
    """A picture of a series. captured : seconds since 1970 by the camera's clock; quality : see `shot_quality`"""

    path: Path
    captured: float
    quality: float


class Series(NamedTuple):
    """Shots of one scene that are no copies: a burst, exposures, several tries. None of them goes for another.

    shots : by capture time, then path
    suggested : the sharpest, best exposed one
    """

    shots: tuple[Shot, ...]
    suggested: Path


@dataclass(frozen=True)
class Result:
    """What a run found.

    embeddings : of the n files that could be read; the others are in its `failures`
    graph : (n, n) CSR, cosine distances up to `epsilon`, before confirmation; with config.verify, of the nearest
    labels : (n,) int, -1 = unique
    matches : by row numbers (i, j), i < j; empty unless config.verify
    clusters : those that free most bytes first
    epsilon : the one used, the encoder's own where config has none
    device : that the encoder ran on; empty if there was nothing to read
    places : which files were preferred as keepers; folders whose files never go; archives
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

    @property
    def leaks(self) -> list[Leak]:
        """The incoming files that show what an archive has, or a part of it, by path."""
        paths, kinds = self.embeddings.paths, [*MatchKind, NEAR, INDIRECT]
        roots = [self.places.root_of(path) for path in paths]
        pairs = [(i, j, match.kind, match.distance) for (i, j), match in self.matches.items()]
        if not self.config.verify:
            edges = self.graph.tocoo()
            pairs = [(i, j, NEAR, distance) for i, j, distance in zip(edges.row, edges.col, edges.data, strict=True)]
        labels = [_label(path, root or self.config.images_dir) for path, root in zip(paths, roots, strict=True)]
        same = [pair[:2] for pair in pairs if pair[2] in (*EXACT, MatchKind.RESAVED)]
        versions = _components(same, len(paths))
        archived = defaultdict(dict)  # by version: one archive file of each label
        for row in (row for row, root in enumerate(roots) if root):
            archived[versions[row]].setdefault(labels[row], row)
        for own in (row for row, root in enumerate(roots) if not root):  # not each was compared with each
            pairs += [(own, twin, INDIRECT, 0.0) for twin in archived[versions[own]].values()]
        leaks = defaultdict(list)
        for i, j, kind, distance in pairs:
            if kind != MatchKind.SIMILAR and bool(roots[i]) != bool(roots[j]):
                own, twin = (j, i) if roots[i] else (i, j)
                leak = Leak(paths[own], kind, paths[twin], labels[own], labels[twin])
                leaks[own].append((not leak.has_other_label, kinds.index(kind), distance, twin, leak))
        return [min(found)[-1] for _, found in sorted(leaks.items())]


def _components(pairs: Sequence[tuple[int, int]], n: int) -> list[int]:
    """Number of the group that each of n rows is in, as pairs join them."""
    first, second = np.array(pairs, int).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(pairs)), (first, second)), shape=(n, n))
    return connected_components(graph, directed=False)[1].tolist()


def _label(path: Path, folder: Path) -> str:
    return path.relative_to(folder).parts[0] if path.parent != folder else ""


def find_series(result: Result, facts: Store = NOTHING) -> list[Series]:
    """The series among similar pictures, and among files of a cluster that were captured shortly after each other.

    The best of the files of one version with one capture time stands for the others; its quality is the largest file's.

    facts : what is remembered of the files' contents, and notes what could not be found out
    """
    clusters = [(cluster.keeper, *cluster.members) for cluster in result.clusters]
    alike = [pair[:2] for pair in result.similar]
    joined = [(each.path, each.keeper) for files in clusters for each in files
              if each.reason and each.kind in LEVELS["edits"]]  # fmt: skip
    named = {path for pair in (*alike, *joined) for path in pair}
    touched = [files for files in clusters if not named.isdisjoint(each.path for each in files)]
    paths, workers = sorted(named.union(each.path for files in touched for each in files)), result.config.num_workers
    contents = read_all_contents(paths, workers, facts)
    captured = {path: time for path in paths if (time := _captured(contents[path])) is not None}
    best: dict[tuple, Path] = {}
    stands = {each.path: best.setdefault((number, each.version or each.path, captured.get(each.path)), each.path)
              for number, files in enumerate(touched) for each in files}  # fmt: skip
    largest = {stands[each.path]: each.path for files in touched  # a smaller copy looks sharper
               for each in sorted(files[::-1], key=lambda each: each.width * each.height)}  # fmt: skip
    others = [pair for pair in joined if len({captured.get(path) for path in pair}) == 2]
    pairs = {tuple(sorted(stands.get(path, path) for path in pair)) for pair in (*alike, *others)}
    pairs = {pair for pair in pairs if captured.keys() >= set(pair) and _are_near(*(captured[each] for each in pair))}
    seen = sorted({path for pair in pairs for path in pair})
    found = facts.of_each(
        "shot", [largest.get(path, path) for path in seen], partial(run_jobs, shot_quality, num_workers=workers)
    )
    qualities = [0.0 if isinstance(each, Lost) else each for each in found]
    shots = {path: Shot(path, captured[path], quality) for path, quality in zip(seen, qualities, strict=True)}
    return in_series(pairs, shots)


def _captured(contents: Contents) -> float | None:
    """When a shot was taken, with the fraction of the second if it is known."""
    time, fractions = capture_time(contents), contents.held.get(FRACTION, ())
    return time if time is None or len(fractions) != 1 else time + float(f"0.{next(iter(fractions))}")


def in_series(pairs: Iterable[tuple[Path, Path]], shots: Mapping[Path, Shot]) -> list[Series]:
    """Join pairs of shots that were taken shortly after each other; a shot in no pair is in no series."""
    rows = {path: row for row, path in enumerate(sorted(shots))}
    near = [[rows[path] for path in pair] for pair in pairs if _are_near(*(shots[path].captured for path in pair))]
    groups = defaultdict(list)
    for path, label in zip(rows, _components(near, len(rows)), strict=True):
        groups[label].append(shots[path])
    ordered = [tuple(sorted(group, key=lambda shot: (shot.captured, shot.path))) for group in groups.values()]
    found = [Series(group, max(group, key=lambda shot: shot.quality).path) for group in ordered if len(group) > 1]
    return sorted(found, key=lambda series: series.shots[0][1::-1])


def _are_near(first: float, second: float) -> bool:
    return abs(first - second) <= NEXT_SHOT
