"""Measure which file of a version is kept where the best is known: an original beside its copies.

    python -m benchmarks.keepers FOLDER

FOLDER holds images/ and truth.csv (path, group, edit, level), as made for `make benchmark`. A version counts if an
original or its exact copy is in it; it is right if one of them is its best file.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.finding import settings
from benchmarks.folders import folder_given
from dedup.evaluation.scores import Truth
from dedup.pipeline import find_duplicates

BEST = ("original", "exact")
GOAL = 0.995


def keepers(clusters: Iterable, images_dir: Path, levels: Mapping[str, str]) -> list[tuple[str, str]]:
    """The best file's path, of every version that holds an original, and what decided for it where the cluster tells.

    Parameters
    ----------
    levels : of each file, by its path relative to images_dir
    """
    found = []
    for cluster in clusters:
        versions = defaultdict(list)
        for file in (cluster.keeper, *cluster.members):
            versions[file.version].append(file.path.relative_to(images_dir).as_posix())
        for version, files in versions.items():
            if version and any(levels[file] in BEST for file in files):
                found.append((files[0], cluster.why if version == 1 else "another version"))
    return found


def main(arguments: list[str] | None = None) -> int:
    folder = folder_given(__doc__, arguments)
    truth = Truth.read(folder / "truth.csv")
    result = find_duplicates(settings(folder / "images", folder / "output"))
    levels = dict(zip(truth.paths, truth.levels, strict=True))
    found = keepers(result.clusters, folder / "images", levels)
    wrong = [(path, why) for path, why in found if levels[path] not in BEST]
    for path, why in wrong:
        print(f"{path} ({truth.edits[truth.paths.index(path)]}): {why}")
    for why, times in Counter(why for _, why in found).most_common():
        print(f"{times:5}  {why}")
    print(f"{len(found) - len(wrong)} of {len(found)} versions keep the original")
    return int(len(found) - len(wrong) < GOAL * len(found))


if __name__ == "__main__":
    sys.exit(main())
