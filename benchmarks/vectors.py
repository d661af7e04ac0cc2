"""Neighbours and DBSCAN of many vectors, in a process of its own: `python -m benchmarks.vectors 100000 --faiss`.

Vectors of 256 numbers, a quarter of them near others, some of those equal  ->  a line of JSON: seconds, edges, memory
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np

from dedup.clustering.clusters import cluster_labels
from dedup.matching.neighbors import radius_neighbors_graph

SIZE, EPSILON = 256, 0.45
FARTHEST = 0.6  # cosine distance of the farthest duplicate: some lie beyond epsilon
SAMPLE = 1000  # vectors whose neighbours are looked for in the plain way


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("--faiss", action="store_true", help="the same with FAISS, and whether the edges are the same")
    options = parser.parse_args()
    vectors = make_vectors(options.count)
    cluster_labels(radius_neighbors_graph(vectors[:64], EPSILON), EPSILON)  # loads what has to be loaded
    began = time.monotonic()
    graph = radius_neighbors_graph(vectors, EPSILON, progress=sys.stderr.isatty())
    neighbours = time.monotonic() - began
    cluster_labels(graph, EPSILON)
    seconds = time.monotonic() - began
    found = {"seconds": seconds, "neighbours": neighbours, "edges": (graph.nnz - len(vectors)) // 2, "peak": _peak()}
    found["sample"] = share_found(vectors, graph)
    if options.faiss:
        theirs, found["faiss_seconds"] = _faiss_graph(vectors)
        found["same"] = bool((graph.indptr == theirs.indptr).all() and (graph.indices == theirs.indices).all())
    print(json.dumps(found))
    return 0


def make_vectors(count: int, size: int = SIZE, seed: int = 0) -> np.ndarray:
    """(count, size) float32, unit norm: three quarters drawn at random, the rest near some of those or equal."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, size), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    copies = np.arange(count - count // 4, count)
    originals = rng.integers(0, count - count // 4, len(copies))
    cosine = 1 - rng.uniform(0, FARTHEST, (len(copies), 1)).astype(np.float32)
    vectors[copies] = cosine * vectors[originals] + np.sqrt(1 - cosine**2) * vectors[copies]
    vectors[copies] /= np.linalg.norm(vectors[copies], axis=1, keepdims=True)
    vectors[copies[::5]] = vectors[originals[::5]]
    return vectors


def share_found(vectors: np.ndarray, graph, sample: int = SAMPLE) -> float:
    """Of the edges of some vectors, found by plain products, the share that is in the graph."""
    rows = np.random.default_rng(1).choice(len(vectors), min(sample, len(vectors)), replace=False)
    plain, found = 0, 0
    for row in rows.tolist():
        near = np.flatnonzero(vectors @ vectors[row] >= 1 - EPSILON)
        plain, found = plain + len(near), found + np.isin(near, graph[row].indices).sum()
    return float(found / plain)


def _faiss_graph(vectors: np.ndarray):
    """(n, n) CSR by FAISS, and the seconds that it and DBSCAN took."""
    import faiss
    from scipy.sparse import csr_matrix
    from sklearn.cluster import DBSCAN

    began = time.monotonic()
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    limits, similarities, columns = index.range_search(vectors, 1 - EPSILON)
    distances = (1 - similarities).clip(min=0)
    graph = csr_matrix((distances, columns, limits.astype(np.int64)), shape=(len(vectors), len(vectors)))
    graph.sort_indices()
    DBSCAN(eps=EPSILON, min_samples=2, metric="precomputed").fit(graph)
    return graph, time.monotonic() - began


def _peak() -> int:
    """The most bytes this process has had in memory; 0 where that isn't told."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    sys.exit(main())
