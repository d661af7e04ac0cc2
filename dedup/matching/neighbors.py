"""Neighbour graph. Input: unit vectors. Output: sparse cosine distances.

vectors (n, d) float32, unit norm  ->  graph (n, n) CSR float32, distance <= epsilon, diagonal included

All pairs are multiplied, tile by tile, in whole numbers of 8 bits where the processor has instructions for them
(VNNI, AMX: about nine times the speed of float32), else in float32. That product only selects pairs, with a margin wide
enough to lose no edge; the float32 vectors decide which of them are edges. So the graph is exact either way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix

from dedup.output import Phases, progress_bar

if TYPE_CHECKING:
    import torch

    from dedup.encoder.embeddings import Embeddings

Edges = tuple[np.ndarray, np.ndarray, np.ndarray]  # rows, columns (int32), cosine distances (float32)

ROUNDING = 1e-6  # of a float32 cosine distance of unit vectors
UNIT_NORM = 1e-3  # how far from 1 a norm may be
LEVELS = 127  # of an 8-bit number, on either side of 0
MANY = 20_000  # vectors from which to load torch pays, where it is installed; others are multiplied by NumPy
PANEL_SHARE = 2 / 3  # of epsilon: a panel is a whole picture, so it must be nearer
CHUNK = 16_384  # rows or pairs at a time, where each takes d numbers


def radius_neighbors_graph(
    vectors: np.ndarray, epsilon: float, block: int = 2048, progress: bool | Phases = False, most: int | None = None
) -> csr_matrix:
    """Connect every pair of vectors whose cosine distance is at most `epsilon`, or the nearest of them.

    Parameters
    ----------
    vectors : (n, d) float32, unit norm
    epsilon : cosine distance in [0, 2]; inclusive, as in DBSCAN (Ester et al., 1996), up to float32 rounding (1e-6)
    block : rows and columns at a time; memory is a block x block matrix, a byte for each number in `vectors`, the graph
    progress : show a bar on stderr, or the run's phases
    most : of more neighbours than these, an edge needs to lead to one of the nearest of either end, equals by number;
        so the graph has n * most pairs or fewer, however many vectors lie within epsilon. None = all edges

    Returns
    -------
    (n, n) CSR float32, symmetric, sorted by column. Exact copies and the diagonal are stored as explicit zeros,
    and no entry exceeds `epsilon`.

    Raises
    ------
    ValueError : epsilon outside [0, 2], or vectors that are not of unit norm
    """
    vectors, norms = _checked(vectors, epsilon, block)
    n = len(vectors)
    tiles = _near_pairs(_coarse(vectors, norms), epsilon, block, progress)
    edges: list[Edges] = []
    for rows, columns in tiles:
        if len(rows):
            edges.append(_decided(vectors, norms, rows, columns, epsilon))
        if most is not None and sum(len(part[0]) for part in edges) > 2 * most * n:
            edges = [_nearest(edges, most)]
    if most is not None and edges:
        edges = [_nearest(edges, most)]
    diagonal = np.arange(n, dtype=np.int32), np.arange(n, dtype=np.int32), np.zeros(n, np.float32)
    mirrored = [(columns, rows, distances) for rows, columns, distances in edges]
    rows, columns, distances = (np.concatenate(parts) for parts in zip(diagonal, *edges, *mirrored, strict=True))
    graph = coo_matrix((distances, (rows, columns)), shape=(n, n)).tocsr()
    graph.sort_indices()
    return graph


def _nearest(edges: Sequence[Edges], most: int) -> Edges:
    """The edges that lead to one of the `most` nearest neighbours of either end."""
    rows, columns, distances = (np.concatenate(parts) for parts in zip(*edges, strict=True))
    ends, others = np.r_[rows, columns], np.r_[columns, rows]
    order = np.lexsort((others, np.r_[distances, distances], ends))
    ends = ends[order]
    rank = np.arange(len(ends)) - np.searchsorted(ends, ends)  # of a neighbour, among those of its end
    is_near = np.zeros(len(ends), bool)
    is_near[order] = rank < most
    kept = is_near[: len(rows)] | is_near[len(rows) :]
    return rows[kept], columns[kept], distances[kept]


def merge_rows(graph: csr_matrix, owners: np.ndarray, n: int) -> csr_matrix:
    """Merge rows of one owner: an edge between rows of two owners joins the owners, at the least distance.

    Parameters
    ----------
    graph : (m, m) CSR of distances
    owners : (m,) int in [0, n), the owner of each row

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


def _checked(vectors: np.ndarray, epsilon: float, block: int) -> tuple[np.ndarray, np.ndarray]:
    """The vectors as contiguous float32 and their norms (n,), or a ValueError."""
    if not 0 <= epsilon <= 2:
        raise ValueError(f"epsilon is a cosine distance in [0, 2], got {epsilon}")
    if block < 1:
        raise ValueError(f"block is a number of rows, at least 1, got {block}")
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if vectors.ndim != 2:
        raise ValueError(f"vectors are a matrix (n, d), got shape {vectors.shape}")
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    if not (np.abs(norms - 1) <= UNIT_NORM).all():
        row = int(np.argmin(np.abs(norms - 1) <= UNIT_NORM))
        raise ValueError(f"vectors must be of unit norm, row {row} has {norms[row]:.4g}; divide rows by their norm")
    return vectors, norms


class _Coarse(NamedTuple):
    """Vectors for the sieve: `step` times row i of `rows` is within `errors[i]` of the unit vector i."""

    rows: torch.Tensor | np.ndarray  # (n, d) int8 or float32
    step: float
    errors: np.ndarray  # (n,)


def _coarse(vectors: np.ndarray, norms: np.ndarray) -> _Coarse:
    """What the sieve multiplies: 8-bit whole numbers where they are fast."""
    rounding = vectors.shape[1] * np.finfo(np.float32).eps  # of a sum of so many products
    if len(vectors) < MANY or not find_spec("torch"):
        return _Coarse(vectors, 1.0, np.abs(norms - 1) + rounding)
    import torch

    if not (vectors.size and multiplies_bytes_fast()):
        return _Coarse(torch.from_numpy(vectors), 1.0, np.abs(norms - 1) + rounding)
    step = float(np.abs([vectors.min(), vectors.max()]).max()) / LEVELS * (1 + UNIT_NORM)
    rows, errors = np.empty(vectors.shape, np.int8), np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), CHUNK):
        chunk = slice(start, start + CHUNK)
        units = vectors[chunk] / norms[chunk, None]
        rows[chunk] = whole = np.rint(units / step)
        errors[chunk] = np.linalg.norm(units - whole * np.float32(step), axis=1)
    return _Coarse(torch.from_numpy(rows), step, errors + rounding)


def multiplies_bytes_fast() -> bool:
    """Whether torch multiplies 8-bit matrices by the processor's own instructions, which sum them up exactly."""
    import torch

    supported = getattr(torch.cpu, "_is_vnni_supported", bool)  # not public, neither of them: absent means no
    return hasattr(torch, "_int_mm") and supported()


def _near_pairs(
    coarse: _Coarse, epsilon: float, block: int, progress: bool | Phases
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and columns, above the diagonal, of pairs that may be within epsilon, by tile; all that are, are there."""
    if isinstance(coarse.rows, np.ndarray):
        yield from _few_pairs(coarse, epsilon, block)
        return
    import torch

    n, whole = len(coarse.rows), coarse.rows.dtype == torch.int8
    room = torch.empty(min(n, block) ** 2, dtype=torch.int32 if whole else torch.float32)  # for each tile in turn
    corners = [(top, left) for top in range(0, n, block) for left in range(top, n, block)]
    with progress_bar(progress, len(corners), "Comparing", "tiles") as bar:
        for top, left in corners:
            yield _sieve(coarse, epsilon, slice(top, top + block), slice(left, left + block), room)
            bar.update()


def _few_pairs(coarse: _Coarse, epsilon: float, block: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same as `_near_pairs`, by NumPy, for vectors that are float32."""
    error = float(coarse.errors.max(initial=0))
    least = np.float32(1 - epsilon - 2 * ROUNDING - error * (2 + error))
    starts = range(0, len(coarse.rows), block)
    for top in starts:
        for left in starts[top // block :]:
            near = coarse.rows[top : top + block] @ coarse.rows[left : left + block].T >= least
            rows, columns = np.nonzero(np.triu(near, 1) if top == left else near)
            yield rows + top, columns + left


def _sieve(
    coarse: _Coarse, epsilon: float, top: slice, left: slice, room: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of one tile that may be within epsilon.

    With u = a + e and v = b + f, a and b coarse: u.v = a.b + e.b + u.f, so |u.v - a.b| <= |e| (1 + |f|) + |f|.
    """
    import torch

    first, second = coarse.rows[top], coarse.rows[left]
    error, other = float(coarse.errors[top].max()), float(coarse.errors[left].max())
    least = (1 - epsilon - 2 * ROUNDING - error * (1 + other) - other) / coarse.step**2
    products = room[: len(first) * len(second)].view(len(first), len(second))  # (<= block, <= block)
    if first.dtype == torch.int8:
        torch._int_mm(first, second.T, out=products)
        least = max(math.floor(least), torch.iinfo(torch.int32).min)
    else:
        torch.mm(first, second.T, out=products)
    hit = torch.nonzero(products.amax(dim=1) >= least)[:, 0]  # few rows have a neighbour in a tile
    near = torch.nonzero(products[hit] >= least)
    rows, columns = hit[near[:, 0]] + top.start, near[:, 1] + left.start
    upper = rows < columns
    return rows[upper].numpy(), columns[upper].numpy()


def _decided(vectors: np.ndarray, norms: np.ndarray, rows: np.ndarray, columns: np.ndarray, epsilon: float) -> Edges:
    """The pairs that are edges, with their cosine distances: half the squared distance of unit vectors u, v.

    Equal to 1 - u.v, but exact for near vectors, and 0 for equal ones.
    """
    distances = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), CHUNK):
        i, j = rows[start : start + CHUNK], columns[start : start + CHUNK]
        gaps = vectors[i] / norms[i, None] - vectors[j] / norms[j, None]  # (<= CHUNK, d)
        distances[start : start + CHUNK] = np.einsum("ij,ij->i", gaps, gaps) / 2
    near = distances <= np.float32(epsilon + ROUNDING)
    rows, columns = rows[near].astype(np.int32), columns[near].astype(np.int32)
    return rows, columns, distances[near].clip(max=_largest_float32(epsilon))


def _largest_float32(limit: float) -> np.float32:
    """The largest float32 that is not above `limit`, so that DBSCAN's `<=` holds in either precision."""
    rounded = np.float32(limit)
    return rounded if float(rounded) <= limit else np.nextafter(rounded, np.float32(-np.inf))


def candidate_graph(
    embeddings: Embeddings, epsilon: float, progress: bool | Phases = False, most: int | None = None
) -> csr_matrix:
    """(n, n) CSR: files whose whole pictures lie within epsilon, or within PANEL_SHARE of it by a panel of one of them.

    most : neighbours of each picture and panel that are kept; None = all
    """
    n, panels = len(embeddings.vectors), embeddings.panels
    if not len(panels):
        return radius_neighbors_graph(embeddings.vectors, epsilon, progress=progress, most=most)
    both = np.concatenate([embeddings.vectors, panels])
    graph = radius_neighbors_graph(both, epsilon, progress=progress, most=most).tocoo()
    whole = np.maximum(graph.row, graph.col) < n
    kept = whole | (graph.data <= PANEL_SHARE * epsilon)
    graph = csr_matrix((graph.data[kept], (graph.row[kept], graph.col[kept])), shape=graph.shape)
    return merge_rows(graph, np.r_[np.arange(n), embeddings.panel_rows], n)
