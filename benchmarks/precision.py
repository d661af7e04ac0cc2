"""Whether clusters depend on how the encoder computes: `python -m benchmarks.precision FOLDER`.

A folder of pictures  ->  a table: clusters, files and candidates in each arithmetic, beside those of plain float32

Plain is torch's. The exit code is 1 where what a run takes here, ONNX Runtime or a GPU, finds other clusters.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch

from benchmarks.finding import settings
from benchmarks.folders import folder_given
from dedup import pipeline
from dedup.clustering.result import Result
from dedup.encoder import inference
from dedup.encoder.model import choose_device, load_encoder

PLAIN, OURS = "plain float32", "as in a run"
ARITHMETIC: dict[str, Callable] = {
    PLAIN: lambda device: nullcontext(),
    OURS: lambda device: nullcontext(),  # not asked: ONNX Runtime has its own
    "float16": lambda device: torch.autocast(device.type, torch.float16),
    "bfloat16": lambda device: torch.autocast(device.type, torch.bfloat16),
}


def find(folder: Path, name: str) -> Result:
    """Find a folder's duplicates with an encoder that computes in one of ARITHMETIC."""
    before = inference.half_precision, pipeline.open_encoder
    if name != OURS:
        inference.half_precision = ARITHMETIC[name]
        pipeline.open_encoder = lambda *given: inference.TorchEncoder(load_encoder(*given), choose_device())
    try:
        with tempfile.TemporaryDirectory() as output:
            return pipeline.find_duplicates(settings(folder, Path(output), cache=False))
    finally:
        inference.half_precision, pipeline.open_encoder = before


def clusters_of(result: Result) -> list[frozenset[Path]]:
    return [frozenset(member.path for member in (each.keeper, *each.members)) for each in result.clusters]


def moved(clusters: list[frozenset[Path]], plain: list[frozenset[Path]]) -> int:
    """Files that are not with most of those they were with, or are with others now; the larger number."""

    def without(some: list[frozenset[Path]], others: list[frozenset[Path]]) -> int:
        return sum(len(each) - max((len(each & other) for other in others), default=0) for each in some)

    return max(without(plain, clusters), without(clusters, plain))


def main() -> int:
    folder = folder_given(__doc__)
    results = {name: find(folder, name) for name in ARITHMETIC}
    plain, count = results[PLAIN], {}
    print("| arithmetic | clusters | files | candidates | files elsewhere | largest change of a vector |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, found in results.items():
        clusters = clusters_of(found)
        count[name] = moved(clusters, clusters_of(plain))
        change = np.abs(found.embeddings.vectors - plain.embeddings.vectors).max()
        row = name, len(clusters), sum(map(len, clusters)), found.graph.nnz, count[name], f"{change:.6f}"
        print(f"| {' | '.join(map(str, row))} |")
    return int(count[OURS] > 0)


if __name__ == "__main__":
    sys.exit(main())
