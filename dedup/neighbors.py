"""Neighbour graph: unit vectors in, sparse cosine distances out.

vectors (n, d) float32, unit norm  ->  graph (n, n) CSR float32, distance <= epsilon, diagonal included
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix

ROUNDING = 1e-6  # of a float32 dot product of unit vectors
UNIT_NORM = 1e-3  # how far from 1 a norm may be


def radius_neighbors_graph(vectors: np.ndarray, epsilon: float, block: int = 4096) -> csr_matrix:
    """Connect every pair of vectors whose cosine distance is at most `epsilon`.

    Parameters
    ----------
    vectors : (n, d) float32, unit norm
    epsilon : cosine distance in [0, 2]; inclusive, as in DBSCAN (Ester et al., 1996), up to float32 rounding (1e-6)
    block : rows and columns at a time; memory is a few block x block float32 matrices and the graph itself

    Returns
    -------
    (n, n) CSR float32, symmetric, sorted by column. Exact copies and the diagonal are stored as explicit zeros,
    and no entry exceeds `epsilon`.

    Raises
    ------
    ValueError : epsilon outside [0, 2], or vectors that are not of unit norm
    """
    vectors = _checked(vectors, epsilon, block)
    n, twins = len(vectors), _twin_groups(vectors)
    tiles = [_upper_edges(vectors, twins, epsilon, top, left, block) for top, left in _tile_corners(n, block)]
    diagonal = np.arange(n, dtype=np.int32), np.arange(n, dtype=np.int32), np.zeros(n, np.float32)
    mirrored = [(columns, rows, distances) for rows, columns, distances in tiles]
    rows, columns, distances = (np.concatenate(parts) for parts in zip(diagonal, *tiles, *mirrored, strict=True))
    graph = coo_matrix((distances, (rows, columns)), shape=(n, n)).tocsr()
    graph.sort_indices()
    return graph


def merge_rows(graph: csr_matrix, owners: np.ndarray, n: int) -> csr_matrix:
    """Let several rows stand for one: an edge between two of their rows joins the owners, at the least distance.

    Parameters
    ----------
    graph : (m, m) CSR of distances
    owners : (m,) int in [0, n), whom a row stands for

    Returns
    -------
    (n, n) CSR float32, symmetric where `graph` is; explicit zeros kept
    """
    edges = graph.tocoo()
    rows, columns = owners[edges.row], owners[edges.col]
    distances = np.where(rows == columns, np.float32(0), edges.data)
    order = np.lexsort((distances, columns, rows))
    rows, columns, distances = rows[order], columns[order], distances[order]
    first = np.r_[True, (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1])][: len(rows)]
    return csr_matrix((distances[first], (rows[first], columns[first])), shape=(n, n))


def _checked(vectors: np.ndarray, epsilon: float, block: int) -> np.ndarray:
    """The vectors as contiguous float32, or a ValueError."""
    if not 0 <= epsilon <= 2:
        raise ValueError(f"epsilon is a cosine distance in [0, 2], got {epsilon}")
    if block < 1:
        raise ValueError(f"block is a number of rows, at least 1, got {block}")
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if vectors.ndim != 2:
        raise ValueError(f"vectors are a matrix (n, d), got shape {vectors.shape}")
    norms = np.linalg.norm(vectors, axis=1)
    if not (np.abs(norms - 1) <= UNIT_NORM).all():
        row = int(np.argmin(np.abs(norms - 1) <= UNIT_NORM))
        raise ValueError(f"vectors must be of unit norm, row {row} has {norms[row]:.4g}; divide rows by their norm")
    return vectors


def _twin_groups(vectors: np.ndarray) -> np.ndarray:
    """(n,) int; equal for rows that are equal bit for bit (zero's sign aside)."""
    if not vectors.size:
        return np.zeros(len(vectors), np.int64)
    rows = (vectors + 0.0).view(np.dtype((np.void, vectors.shape[1] * vectors.itemsize)))
    return np.unique(rows.ravel(), return_inverse=True)[1]


def _tile_corners(n: int, block: int) -> list[tuple[int, int]]:
    """First row and column of every tile on or above the diagonal."""
    return [(top, left) for top in range(0, n, block) for left in range(top, n, block)]


def _upper_edges(
    vectors: np.ndarray, twins: np.ndarray, epsilon: float, top: int, left: int, block: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and distances of one tile's edges above the diagonal; half the work, and symmetric by itself."""
    distances = vectors[top : top + block] @ vectors[left : left + block].T  # (<= block, <= block), still similarities
    np.subtract(1, distances, out=distances)
    rows, columns = np.nonzero(distances <= np.float32(epsilon + ROUNDING))
    distances = distances[rows, columns]  # (edges,)
    rows, columns = (rows + top).astype(np.int32), (columns + left).astype(np.int32)
    upper = rows < columns
    rows, columns, distances = rows[upper], columns[upper], distances[upper]
    distances[twins[rows] == twins[columns]] = 0  # 1 - x.x seldom is
    return rows, columns, distances.clip(0, _largest_float32(epsilon))


def _largest_float32(limit: float) -> np.float32:
    """The largest float32 that is not above `limit`, so that DBSCAN's `<=` holds in either precision."""
    rounded = np.float32(limit)
    return rounded if float(rounded) <= limit else np.nextafter(rounded, np.float32(-np.inf))
