"""The whole way: a Config in, clusters of duplicates and all that led to them out."""

from __future__ import annotations

import contextlib
import ctypes
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

from dedup.apart import Pair, keep_apart, recall
from dedup.clusters import Cluster, build_clusters, cluster_labels
from dedup.config import Config, ConfigError
from dedup.dataset import list_images
from dedup.embeddings import Embeddings, extract_embeddings
from dedup.journal import BadRecord
from dedup.model import choose_device, load_encoder
from dedup.neighbors import merge_rows, radius_neighbors_graph

if TYPE_CHECKING:
    from dedup.verification import Match

PANEL_SHARE = 2 / 3  # of epsilon: a panel cut out is all of a picture, or none of it


@dataclass(frozen=True)
class Result:
    """What a run found.

    embeddings : of the n files that could be read; the others are in its `failures`
    graph : (n, n) CSR, cosine distances up to `epsilon`, before any was confirmed
    labels : (n,) int, -1 = unique
    matches : by row numbers (i, j), i < j; empty unless config.verify
    clusters : what frees most bytes first
    epsilon : the one used, the encoder's own where config has none
    device : that the encoder ran on; empty if there was nothing to read
    """

    config: Config
    embeddings: Embeddings
    graph: csr_matrix
    labels: np.ndarray
    matches: dict[tuple[int, int], Match]
    clusters: list[Cluster]
    epsilon: float
    device: str

    @property
    def similar(self) -> list[tuple[Path, Path, float]]:
        """Pairs of like pictures that are no copies and in no cluster together, with the distance, nearest first."""
        paths, labels = self.embeddings.paths, self.labels
        pairs = sorted(
            (match.distance, paths[i], paths[j])
            for (i, j), match in self.matches.items()
            if match.kind == "similar" and not labels[i] == labels[j] >= 0
        )
        return [(first, second, distance) for distance, first, second in pairs]


def find_duplicates(config: Config, progress: bool = True, ray: str | None = None) -> Result:
    """Find the duplicates in config.images_dir. Reads alone: writes and moves nothing.

    Parameters
    ----------
    config : what lies below its output_dir is left out where that lies inside images_dir
    progress : show bars on stderr
    ray : address of the Ray cluster that reads and embeds; None = this machine

    Raises
    ------
    ConfigError : output_dir is images_dir, or what it remembers of earlier decisions can't be read
    EncoderError : the encoder can't be loaded
    OSError : images_dir can't be read
    """
    paths, different = images_to_search(config), _different(config)
    if not paths:
        return _empty(config)
    encoder = load_encoder(config.encoder, config.embedding_size)
    own_epsilon = encoder.epsilon if config.verify else encoder.strict_epsilon
    epsilon = own_epsilon if config.epsilon is None else config.epsilon
    device = "a Ray cluster" if ray else choose_device()
    if ray:
        from dedup.distributed import embed_folder

        embeddings = embed_folder(encoder, paths, config, ray, progress)
    else:
        embeddings = extract_embeddings(
            encoder, paths, config.image_resize, config.batch_size, config.num_workers, device, progress
        )
    del encoder
    _return_memory()
    graph = candidate_graph(embeddings, epsilon, progress)
    verifier = _verifier(embeddings.paths, config, progress)
    confirmed = verifier.verify(graph, embeddings.vectors) if verifier else graph
    if different:
        confirmed, kept = keep_apart(confirmed, verifier.matches if verifier else {}, embeddings.paths, different)
        if verifier:
            verifier.matches = kept
    labels = cluster_labels(confirmed, epsilon)
    clusters = build_clusters(embeddings, labels, verifier, config.images_dir, epsilon)
    if verifier:
        verifier.forget_pictures()
        _return_memory()
    matches = verifier.matches if verifier else {}
    return Result(config, embeddings, graph, labels, matches, clusters, epsilon, str(device))


def candidate_graph(embeddings: Embeddings, epsilon: float, progress: bool = False) -> csr_matrix:
    """(n, n) CSR: which files lie within epsilon as a whole, or closer than that by a panel that one of them shows."""
    n, panels = len(embeddings.vectors), embeddings.panels
    if not len(panels):
        return radius_neighbors_graph(embeddings.vectors, epsilon, progress=progress)
    graph = radius_neighbors_graph(np.concatenate([embeddings.vectors, panels]), epsilon, progress=progress).tocoo()
    whole = np.maximum(graph.row, graph.col) < n
    kept = whole | (graph.data <= PANEL_SHARE * epsilon)
    graph = csr_matrix((graph.data[kept], (graph.row[kept], graph.col[kept])), shape=graph.shape)
    return merge_rows(graph, np.r_[np.arange(n), embeddings.panel_rows], n)


def images_to_search(config: Config) -> list[Path]:
    """The images of a folder, without the pages that a run writes."""
    folder, output = Path(os.path.realpath(config.images_dir)), Path(os.path.realpath(config.output_dir))
    if folder == output:
        raise ConfigError(f"output_dir {config.output_dir} is images_dir itself; choose another folder, in it or not")
    paths = list_images(config.images_dir, config.extensions)
    if not output.is_relative_to(folder):
        return paths
    left_out = config.images_dir / output.relative_to(folder)
    return [path for path in paths if not path.is_relative_to(left_out)]


def _different(config: Config) -> frozenset[Pair]:
    """Pairs of contents that somebody said are no duplicates."""
    try:
        return recall(config.output_dir)
    except BadRecord as error:
        raise ConfigError(str(error)) from None


def _return_memory() -> None:
    """Have glibc give back to the system what torch and the pictures have freed; other C libraries do so themselves."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _verifier(paths: list[Path], config: Config, progress: bool):
    """Who confirms pairs; None where the encoder is trusted."""
    if not config.verify:
        return None
    from dedup.verification import Verifier

    return Verifier(paths, config.num_workers, progress)


def _empty(config: Config) -> Result:
    nothing = Embeddings([], np.empty((0, config.embedding_size or 1), np.float32), np.empty((0, 2), int), {})
    graph = csr_matrix((0, 0), dtype=np.float32)
    return Result(config, nothing, graph, np.empty(0, int), {}, [], config.epsilon or 0.0, "")
