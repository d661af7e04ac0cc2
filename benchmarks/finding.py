"""How well copies are found on a folder with a known truth: by this project, by its parts, by other tools.

images_dir, Truth  ->  Report: a Score by finder, a curve by distance, the ratio of run times
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

import configs
from benchmarks.peers import Hashes, read_hashes
from dedup.clustering.clusters import cluster_labels
from dedup.clustering.result import Result
from dedup.config import REMOVE, Config
from dedup.encoder.checkpoints import IMAGENET_EPSILON
from dedup.encoder.embeddings import Embeddings
from dedup.evaluation.scores import PairCurve, Truth, grouping_of, pair_curve, score_grouping
from dedup.matching.confirmation import Verifier
from dedup.matching.neighbors import candidate_graph
from dedup.pipeline import find_duplicates

PROJECT = Path(__file__).resolve().parent.parent
CANDIDATE_BITS = 16  # unequal bits of 64: as generous with candidates as the encoder is
POINTS = 201  # of a curve, when written
OURS, ALONE = "this project", "encoder alone"
WORSE = {"blur", "noise"}  # edits that leave the same picture in worse quality: a copy, as heavy compression is


def settings(images_dir: Path, output_dir: Path, **overrides: object) -> Config:
    """The defaults of configs.py for one folder."""
    return Config.load(configs, images_dir=images_dir, output_dir=output_dir, **overrides)


def measure_finding(images_dir: Path, truth: Truth, output_dir: Path, progress: bool = True) -> dict:
    """Everything that is measured on a folder with a truth; plain values, as JSON takes them."""
    config = settings(images_dir, output_dir)
    result, unconfirmed = (find_duplicates(replace(config, verify=verify), progress) for verify in (True, False))
    times = [
        whole_run(images_dir, output_dir / name, *words) for name, *words in (("with",), ("without", "--no-verify"))
    ]
    hashes = read_hashes([images_dir / path for path in truth.paths], config.num_workers, progress)
    scores = {OURS: score_result(result, truth), ALONE: score_result(unconfirmed, truth)}
    scores |= {f"{h.peer.name}, {h.peer.threshold} bits": score_graph(h.graph(), truth) for h in hashes}
    scores |= ablations(result, truth, hashes[0], progress)
    rows = rows_of(result, truth)
    views = views_of(result.embeddings)[rows]  # (n, k, d)
    curves = {ALONE: pair_curve(views, truth.groups), f"{ALONE}, one view": pair_curve(views[:, 0], truth.groups)}
    curves |= {h.peer.name: pair_curve(h.vectors, truth.groups) for h in hashes}
    return {
        "files": len(truth.paths),
        "photos": len(np.unique(truth.groups)),
        "epsilon": result.epsilon,
        "candidates": (result.graph.nnz - len(truth.paths)) // 2,
        "compared": len(result.matches),
        "time_ratio": round(times[0] / times[1], 2),
        "scores": scores,
        "removal": measure_removal(images_dir, truth, output_dir, progress),
        "curves": {name: written(curve) for name, curve in curves.items()},
    }


def whole_run(images_dir: Path, output_dir: Path, *options: str) -> float:
    """Seconds that main.py takes for a folder it has not seen, pages and all."""
    shutil.rmtree(output_dir, ignore_errors=True)
    words = [sys.executable, PROJECT / "main.py", images_dir, "--output", output_dir, "--quiet", *options]
    began = time.monotonic()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def score_result(result: Result, truth: Truth) -> Mapping:
    return rounded(asdict(score_grouping(truth, *grouping_of(result.clusters, result.config.images_dir, truth))))


def measure_removal(images_dir: Path, truth: Truth, output_dir: Path, progress: bool = True) -> dict[str, dict]:
    """What goes at each level of `remove`; see `removal_of`."""
    return {
        remove: removal_of(find_duplicates(settings(images_dir, output_dir, remove=remove), progress), truth)
        for remove in REMOVE
    }


def removal_of(result: Result, truth: Truth) -> dict:
    """How many files go, of each level of the truth; how many wrongly; how many photos lose their last file.

    Edits that only make a picture worse are a level of their own. A file goes wrongly if it shows another photo than
    the file that it goes for.
    """
    rows = {result.config.images_dir / path: row for row, path in enumerate(truth.paths)}
    levels = [
        "worse" if set(edit.split("+")) <= WORSE else level
        for edit, level in zip(truth.edits, truth.levels, strict=True)
    ]
    going = {rows[member.path]: rows[member.keeper] for cluster in result.clusters for member in cluster.members
             if member.removable}  # fmt: skip
    of_all, of_going = Counter(levels), Counter(levels[row] for row in going)
    staying = {truth.groups[row] for row in range(len(truth.paths)) if row not in going}
    return {
        "going": len(going),
        "levels": {level: [of_going[level], count] for level, count in sorted(of_all.items())},
        "wrong": sum(truth.groups[row] != truth.groups[keeper] for row, keeper in going.items()),
        "lost": len(set(truth.groups) - staying),
    }


def score_graph(graph: csr_matrix, truth: Truth) -> Mapping:
    """Score what a graph joins; of each cluster the first file by name stays."""
    return rounded(asdict(score_grouping(truth, cluster_labels(graph, 2.0))))


def rows_of(result: Result, truth: Truth) -> np.ndarray:
    """(n,) row of each of truth.paths in the embeddings."""
    folder, paths = result.config.images_dir, result.embeddings.paths
    rows = {path.relative_to(folder).as_posix(): row for row, path in enumerate(paths)}
    if missing := [path for path in truth.paths if path not in rows]:
        raise ValueError(f"{len(missing)} files of the truth could not be read, the first is {missing[0]}")
    return np.array([rows[path] for path in truth.paths])


def views_of(embeddings: Embeddings) -> np.ndarray:
    """(n, k, d): every file as a whole, and the pictures that it shows on a page or in a collage, if any."""
    rows = embeddings.panel_rows
    places = np.arange(len(rows)) - np.searchsorted(rows, rows)  # 0, 1, ... for each file's panels
    views = np.repeat(embeddings.vectors[:, None], 2 + places.max(initial=-1), axis=1)
    views[rows, 1 + places] = embeddings.panels.reshape(-1, views.shape[2])
    return views


def ablations(result: Result, truth: Truth, phash: Hashes, progress: bool) -> dict[str, Mapping]:
    """The project with a part replaced: pHash for the encoder, a guess for the calibrated epsilon."""
    rows = rows_of(result, truth)
    verifier = Verifier([result.embeddings.paths[row] for row in rows], result.config.num_workers, progress)
    guessed = candidate_graph(result.embeddings, IMAGENET_EPSILON)[rows][:, rows]  # in the order of the truth
    return {
        f"pHash within {CANDIDATE_BITS} bits + confirmation": score_graph(
            verifier.verify(phash.graph(CANDIDATE_BITS)), truth
        ),
        f"epsilon {IMAGENET_EPSILON}, not calibrated": score_graph(verifier.verify(guessed), truth),
    }


def written(curve: PairCurve) -> dict:
    """A curve as JSON takes it, thinned out."""
    kept = np.unique(
        np.searchsorted(curve.recall, np.linspace(0, curve.recall[-1], POINTS)).clip(0, len(curve.right) - 1)
    )
    return rounded(
        {
            "average_precision": curve.average_precision,
            "recall_at_0.99": curve.recall_at(0.99),
            "recall_at_0.999": curve.recall_at(0.999),
            "recall": curve.recall[kept].tolist(),
            "precision": curve.precision[kept].tolist(),
        }
    )


def rounded(value, digits: int = 5):
    """Floats in nested dicts and lists to so many decimals."""
    if isinstance(value, Mapping):
        return {key: rounded(inner, digits) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner, digits) for inner in value]
    return round(value, digits) if isinstance(value, float) else value
