"""How the project does on real pictures: what it misses and joins on real duplicates, what it joins among lookalikes.

The pairs that want a look are written to a CSV file; those looked at stand in looked_at.csv with what was seen.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import numpy as np

from benchmarks.finding import score_result, settings
from dedup.clustering.result import Result
from dedup.evaluation.scores import Truth, grouping_of
from dedup.output import write_table
from dedup.pipeline import find_duplicates

LOOKED_AT = Path(__file__).parent / "looked_at.csv"
SAME_PICTURE = Path(__file__).parent / "same_picture.csv"
Pair = tuple[str, str, str]  # two paths, and what the project says or what is wrong


def measure_real(folder: Path, output_dir: Path, progress: bool = True) -> tuple[dict, list[Pair]]:
    """Scores on a folder with images/ and truth.csv; and every pair that is missed or joined against the truth.

    The set was put together from several sources, and its groups go by source and name. Groups that hold one picture,
    by eye (same_picture.csv), count as one in `score`, and as they are in `score_as_labelled`.
    """
    labelled = Truth.read(folder / "truth.csv")
    truth = with_one_group_each(labelled)
    result = find_duplicates(settings(folder / "images", output_dir), progress)
    labels, _ = grouping_of(result.clusters, folder / "images", truth)
    scores = {"score": score_result(result, truth), "score_as_labelled": score_result(result, labelled)}
    return {"files": len(truth.paths), **scores}, mistakes(truth, labels)


def with_one_group_each(truth: Truth) -> Truth:
    """A truth in which the groups of files that same_picture.csv names together are one, with its first original."""
    groups, levels = truth.groups.copy(), np.array(truth.levels)
    row_of = {path: row for row, path in enumerate(truth.paths)}
    with open(SAME_PICTURE, encoding="utf-8", newline="") as file:
        same = [(row_of[row["path"]], row_of[row["other"]]) for row in csv.DictReader(file)]
    for kept, other in same:
        merged = groups == groups[other]
        groups[merged] = groups[kept]
        levels[merged & (levels == "original")] = "real"
    return Truth(truth.paths, groups, truth.edits, levels.tolist())


def mistakes(truth: Truth, labels: np.ndarray) -> list[Pair]:
    """Each file that is missing from its original's cluster, and each pair of pictures that share a cluster."""
    home = {group: row for row, (group, level) in enumerate(zip(truth.groups, truth.levels, strict=True))
            if level == "original"}  # fmt: skip
    found = []
    for row, group in enumerate(truth.groups):
        first = home.get(group, row)
        if row != first and not labels[row] == labels[first] >= 0:
            found.append((truth.paths[first], truth.paths[row], "missed"))
    for label in range(labels.max(initial=-1) + 1):
        members = np.flatnonzero(labels == label)
        firsts = members[np.unique(truth.groups[members], return_index=True)[1]]  # a file of each picture
        found += [(truth.paths[i], truth.paths[j], "wrong") for i, j in combinations(sorted(firsts), 2)]
    return found


def measure_lookalikes(folder: Path, output_dir: Path, progress: bool = True) -> tuple[dict, list[Pair]]:
    """Number of pairs that are called copies in a folder without copies, and what was seen of them."""
    pairs = called_copies(find_duplicates(settings(folder, output_dir), progress))
    seen = looked_at()
    verdicts = [seen.get(frozenset(pair[:2]), "not looked at") for pair in pairs]
    counts = {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))}
    return {"files": sum(1 for path in folder.rglob("*") if path.is_file()), "pairs": len(pairs), **counts}, pairs


def called_copies(result: Result) -> list[Pair]:
    """Pairs that are called identical, same pixels, copy or crop."""
    names = [path.relative_to(result.config.images_dir).as_posix() for path in result.embeddings.paths]
    matches = sorted(result.matches.items())
    return [(names[i], names[j], match.kind) for (i, j), match in matches if match.kind.joins]


def looked_at() -> dict[frozenset, str]:
    """What was seen, by the pair's paths: "right" (one picture) or "wrong"."""
    with open(LOOKED_AT, encoding="utf-8", newline="") as file:
        return {frozenset((row["path"], row["other"])): row["verdict"] for row in csv.DictReader(file)}


def write_pairs(pairs: Iterable[tuple], path: Path) -> None:
    """Pairs to look at, as CSV: set, path, other, what."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, ("set", "path", "other", "what"), pairs)
