"""radius_neighbors_graph: by hand, against scikit-learn, at its limits."""

import numpy as np
import pytest
from sklearn.cluster import DBSCAN
from sklearn.neighbors import radius_neighbors_graph as reference_graph

from dedup.matching import neighbors
from dedup.matching.neighbors import multiplies_bytes_fast, radius_neighbors_graph

BY_HAND = np.array([[1, 0], [0.6, 0.8], [0, 1], [1, 0], [-1, 0]], np.float32)  # rows 0 and 3 are copies


def unit_vectors(n, d, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def edges(graph):
    """{(row, column): distance} of every stored entry, zeros included."""
    graph = graph.tocoo()
    return {(int(i), int(j)): float(d) for i, j, d in zip(graph.row, graph.col, graph.data, strict=True)}


def test_edges_by_hand():
    found = edges(radius_neighbors_graph(BY_HAND, 0.4))
    diagonal = {(i, i): 0.0 for i in range(5)}
    near = {(0, 1): 0.4, (3, 1): 0.4, (1, 2): 0.2, (0, 3): 0.0}
    expected = diagonal | near | {(j, i): d for (i, j), d in near.items()}
    assert found == pytest.approx(expected, abs=1e-6)
    assert found[0, 3] == found[3, 0] == 0.0


@pytest.mark.parametrize(("epsilon", "connected"), [(0.4, True), (np.float64(0.4), True), (0.3999, False)])
def test_epsilon_is_inclusive(epsilon, connected):
    graph = radius_neighbors_graph(BY_HAND[:2], epsilon)
    assert ((0, 1) in edges(graph)) is connected
    labels = DBSCAN(eps=epsilon, min_samples=2, metric="precomputed").fit_predict(graph)
    assert labels.tolist() == ([0, 0] if connected else [-1, -1])


def test_epsilon_at_the_ends_of_its_range():
    assert set(edges(radius_neighbors_graph(BY_HAND, 0))) == {(i, i) for i in range(5)} | {(0, 3), (3, 0)}
    assert radius_neighbors_graph(BY_HAND, 2).nnz == 25


@pytest.mark.parametrize("block", [1, 7, 60, 4096])
def test_agrees_with_scikit_learn_whatever_the_block(block):
    vectors = unit_vectors(60, 5)
    graph = radius_neighbors_graph(vectors, 0.5, block)
    expected = reference_graph(vectors, 0.5, mode="distance", metric="cosine", include_self=True)
    assert graph.nnz == expected.nnz > 200
    assert abs(graph - expected).max() < 1e-6


def test_is_exactly_symmetric_sorted_and_float32():
    graph = radius_neighbors_graph(unit_vectors(300, 64), 0.9, 50)
    assert graph.dtype == np.float32 and graph.format == "csr" and graph.has_canonical_format
    assert (graph != graph.T).nnz == 0
    assert graph.data.max() <= 0.9 and graph.data.min() == 0


def test_copies_are_exact_zeros_that_stay_stored():
    vectors = np.repeat(unit_vectors(40, 256), 3, axis=0)
    vectors[::3, 0], vectors[1::3, 0], vectors[2::3, 0] = 0.0, -0.0, 0.0  # equal, of other bits
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = edges(radius_neighbors_graph(vectors, 0.01, 16))
    assert len(found) == 40 * 9
    assert set(found.values()) == {0.0}


def pairs_just_within(epsilon, n, d, largest):
    """2 n unit vectors: each of the first n has one of the others at epsilon or a hair less, none has more."""
    rng = np.random.default_rng(1)
    first, away = np.linalg.qr(rng.normal(size=(n, d, 2)))[0].transpose(2, 0, 1)  # (n, d) each, at right angles
    first[:, 0] += largest  # one large number makes the steps of all 8-bit numbers wide
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    away -= (away * first).sum(1, keepdims=True) * first
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    near = 1 - epsilon * (1 - rng.uniform(0, 1e-6, (n, 1)))
    return np.vstack([first, near * first + np.sqrt(1 - near**2) * away]).astype(np.float32)


@pytest.mark.skipif(not multiplies_bytes_fast(), reason="this processor multiplies no 8-bit matrices")
@pytest.mark.parametrize("epsilon", [0.001, 0.45, 1.2])
@pytest.mark.parametrize(("d", "largest"), [(3, 0), (256, 0), (256, 2)])
def test_the_sieve_of_bytes_keeps_every_edge(monkeypatch, epsilon, d, largest):
    vectors = pairs_just_within(epsilon, 300, d, largest)
    by_numpy = radius_neighbors_graph(vectors, epsilon, 128)
    monkeypatch.setattr(neighbors, "MANY", 0)
    sieved = radius_neighbors_graph(vectors, epsilon, 128)
    monkeypatch.setattr(neighbors, "multiplies_bytes_fast", lambda: False)
    plain = radius_neighbors_graph(vectors, epsilon, 128)
    assert all((sieved[i, i + 300] > 0.99 * epsilon) for i in range(300))
    assert (sieved.indptr == plain.indptr).all() and (sieved.indices == plain.indices).all()
    assert (sieved.data == plain.data).all(), "bit for bit"
    assert (by_numpy.indices == plain.indices).all() and (by_numpy.data == plain.data).all()


@pytest.mark.parametrize("many", [0, 10**6])
def test_the_plain_sieve_keeps_every_edge(monkeypatch, many):
    monkeypatch.setattr(neighbors, "MANY", many)
    monkeypatch.setattr(neighbors, "multiplies_bytes_fast", lambda: False)
    vectors = pairs_just_within(0.3, 300, 64, 0) * np.linspace(0.9991, 1.0009, 600, dtype=np.float32)[:, None]
    graph = radius_neighbors_graph(vectors, 0.3, 128)
    assert all(graph[i, i + 300] > 0 for i in range(300)), "norms that are nearly 1 do not change an angle"


def test_distances_never_go_below_zero():
    vectors = unit_vectors(50, 128)
    close = vectors + np.float32(1e-8) * unit_vectors(50, 128, seed=1)
    assert radius_neighbors_graph(np.vstack([vectors, close]), 0.1).data.min() >= 0


@pytest.mark.parametrize("n", [0, 1])
def test_no_pairs(n):
    graph = radius_neighbors_graph(unit_vectors(n, 4), 0.5)
    assert graph.shape == (n, n) and graph.nnz == n


@pytest.mark.parametrize("epsilon", [-0.1, 2.1, float("nan")])
def test_refuses_epsilon_out_of_range(epsilon):
    with pytest.raises(ValueError, match=rf"in \[0, 2\], got {epsilon}"):
        radius_neighbors_graph(BY_HAND, epsilon)


@pytest.mark.parametrize("row", [[0, 0], [3, 4], [np.nan, 1]])
def test_refuses_vectors_that_are_not_of_unit_norm(row):
    with pytest.raises(ValueError, match="row 1 has"):
        radius_neighbors_graph(np.array([[1, 0], row], np.float32), 0.1)


def test_refuses_another_shape_or_block():
    with pytest.raises(ValueError, match=r"matrix \(n, d\), got shape \(2,\)"):
        radius_neighbors_graph(BY_HAND[0], 0.1)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        radius_neighbors_graph(BY_HAND, 0.1, block=0)


@pytest.mark.parametrize("block", [16, 4096])
def test_of_many_neighbours_the_nearest_of_either_end_are_kept(block):
    vectors = np.concatenate([unit_vectors(80, 8), np.repeat(unit_vectors(1, 8, seed=1), 10, axis=0)])
    every = edges(radius_neighbors_graph(vectors, 0.8))
    distances = np.full((90, 90), np.inf)
    for (i, j), distance in every.items():
        distances[i, j] = distance
    np.fill_diagonal(distances, np.inf)
    order = np.argsort(distances, axis=1, kind="stable")[:, :3]
    expected = {(i, int(j)) for i, row in enumerate(order) for j in row if np.isfinite(distances[i, j])}
    expected |= {(j, i) for i, j in expected} | {(i, i) for i in range(90)}
    found = edges(radius_neighbors_graph(vectors, 0.8, block, most=3))
    assert set(found) == expected and len(found) < len(every) / 2
    assert all(found[pair] == every[pair] for pair in found)
