"""What each rule of confirmation is worth: it is switched off, and all is measured again.

    python -m benchmarks.ablation --originals 60 --seeds 1 2 3

DEDUP_DATA: dev/photos, dev/lookalikes  ->  a table, results/ablation.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
from scipy.sparse import csr_matrix

import configs
from benchmarks.benchmark import PROJECT, data_folder, make_folder, weights_digest
from benchmarks.finding import rounded, rows_of, settings
from dedup.clustering.clusters import cluster_labels, groups_of
from dedup.encoder.inference import open_encoder
from dedup.evaluation.scores import Truth, score_grouping
from dedup.matching import classification, confirmation, pictures, scheduling, similarity
from dedup.matching.neighbors import candidate_graph
from dedup.pipeline import CANDIDATES, find_duplicates

RESULTS = PROJECT / "benchmarks" / "results" / "ablation.json"
LEVELS, EVERYTHING = ("easy", "medium", "hard"), "everything on"
# Where a rule is looked up, and what stands there while it is switched off.
RULES: dict[str, tuple[object, str, object]] = {
    "saved again, told before keypoints": (confirmation, "match_resaved", lambda *given: None),
    "whole on whole, turned, mirrored": (confirmation, "whole_transforms", lambda *given: []),
    "keypoints": (confirmation, "keypoint_transforms", lambda *given: []),
    "mirrored keypoints": (pictures.Keypoints, "mirrored", property(lambda own: np.zeros_like(own.descriptors))),
    "pictures within pictures": (pictures, "panels", lambda image: []),
    "plain margins": (pictures, "content_box", lambda image: (0.0, 0.0, 1.0, 1.0)),
    "moved to the best fit (ECC)": (confirmation, "refine", lambda frame: frame),
    "no closer look if half disagrees": (confirmation, "AGREEING", 0.0),
    "both made equally sharp": (similarity, "SOFTER", ()),
    "coarse pictures": (confirmation, "match_coarse", lambda *given: None),
    "parts that moved their own way": (classification, "explained_by_motion", lambda frame: 0.0),
    "other colours": (classification, "other_colours", lambda places: False),
    "other words": (classification, "_same_words", lambda *given: True),
    "turned drawings": (classification, "is_drawing", lambda *given: False),
    "hubs": (scheduling, "_through_hubs", lambda *given: []),
    "no bridges by collages": (scheduling, "without_bridges", lambda edges, verifier: edges),
}


class Folder(NamedTuple):
    """Files, their vectors (n, d) and candidates (n, n); the truth, and its files' rows, where it is known."""

    paths: list[Path]
    vectors: np.ndarray
    graph: csr_matrix
    truth: Truth | None
    rows: np.ndarray | None

    @classmethod
    def read(cls, images_dir: Path, output: Path, table: Path | None = None) -> Folder:
        config = settings(images_dir, output, verify=False)
        result = find_duplicates(config)
        graph = candidate_graph(result.embeddings, open_encoder(config.encoder).about.epsilon, most=CANDIDATES)
        truth = Truth.read(table) if table else None
        rows = rows_of(result, truth) if truth else None
        return cls(result.embeddings.paths, result.embeddings.vectors, graph, truth, rows)


def measure(folders: list[Folder]) -> dict:
    """Mean shares over the folders whose truth is known, pairs joined in the others, seconds of all of them."""
    began, scores, joined = time.monotonic(), [], 0
    for folder in folders:
        verifier = confirmation.Verifier(folder.paths, configs.num_workers, progress=False)
        graph = verifier.verify(folder.graph, folder.vectors)
        if folder.truth:
            labels = cluster_labels(graph, 2.0)
            for number, group in enumerate(groups_of(labels, verifier.matches)):
                labels[[*group.rows, *group.containers]] = number
            scores.append(score_grouping(folder.truth, labels[folder.rows]))
        else:
            joined += sum(match.kind.joins for match in verifier.matches.values())
    shares = {level: np.mean([score.recall_by_level[level] for score in scores]) for level in LEVELS}
    precision, seconds = np.mean([score.precision for score in scores]), time.monotonic() - began
    return rounded({**shares, "precision": precision, "lookalikes": joined, "seconds": seconds})


def ablation_table(results: dict) -> Iterator[str]:
    """Each rule, and what is measured without it."""
    yield f"{'without':36} {'easy':>6} {'medium':>6} {'hard':>6} {'precision':>9} {'look-alikes':>11} {'seconds':>7}"
    for name, row in results["rules"].items():
        shares = " ".join(f"{row[level]:6.3f}" for level in LEVELS)
        yield f"{name:36} {shares} {row['precision']:9.4f} {row['lookalikes']:11} {row['seconds']:7.1f}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--originals", type=int, default=60)
    add("--distractors", type=int, default=60)
    add("--seeds", type=int, nargs="+", default=[1, 2, 3])
    add("--rules", nargs="+", choices=RULES, default=list(RULES), metavar="RULE", help="some of them")
    add("--build", type=Path, default=PROJECT / "build" / "benchmark", help="for made pictures")
    add("--results", type=Path, default=RESULTS)
    options, data = parser.parse_args(arguments), data_folder()
    output = options.build / "output"
    made = [make_folder(data, argparse.Namespace(**vars(options), seed=seed)) for seed in options.seeds]
    folders = [Folder.read(each / "images", output, each / "truth.csv") for each in made]
    folders.append(Folder.read(data / "dev" / "lookalikes", output))
    results = {"weights": weights_digest(), "originals": options.originals, "seeds": options.seeds, "rules": {}}
    for name in (EVERYTHING, *options.rules):
        with patch.object(*RULES[name]) if name in RULES else nullcontext():
            results["rules"][name] = measure(folders)
        options.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(*list(ablation_table(results))[-1 if name in RULES else 0 :], sep="\n", flush=True)


if __name__ == "__main__":
    main()
