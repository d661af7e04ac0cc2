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
from dedup.evaluation import Truth, grouping_of
from dedup.pipeline import Result, find_duplicates

LOOKED_AT = Path(__file__).parent / "looked_at.csv"
CALLED_COPIES = ("identical", "same_pixels", "copy", "crop")
Pair = tuple[str, str, str]  # two paths, and what the project says or what is wrong


def measure_real(folder: Path, output_dir: Path, progress: bool = True) -> tuple[dict, list[Pair]]:
    """Scores on a folder with images/ and truth.csv; and every pair that is missed or joined against the truth."""
    truth = Truth.read(folder / "truth.csv")
    result = find_duplicates(settings(folder / "images", output_dir), progress)
    labels, _ = grouping_of(result.clusters, folder / "images", truth)
    return {"files": len(truth.paths), "score": score_result(result, truth)}, mistakes(truth, labels)


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
    return [(names[i], names[j], match.kind) for (i, j), match in matches if match.kind in CALLED_COPIES]


def looked_at() -> dict[frozenset, str]:
    """What was seen, by the pair's paths: "right" (one picture) or "wrong"."""
    with open(LOOKED_AT, encoding="utf-8", newline="") as file:
        return {frozenset((row["path"], row["other"])): row["verdict"] for row in csv.DictReader(file)}


def write_pairs(pairs: Iterable[tuple], path: Path) -> None:
    """Pairs to look at, as CSV: set, path, other, what."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("set", "path", "other", "what"), *pairs])
