"""The embedding step on a Ray cluster. Input: files that every machine can read. Output: Embeddings.

source, a folder or a bucket  ->  listing  ->  Ray Data: actors that hold the encoder, a batch of files each
                              ->  parts, a Parquet file a batch, in a folder here  ->  Embeddings

If a machine dies, others do its unfinished batches again. A run that was stopped goes on from its parts.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

import dedup
from dedup.clustering.clusters import cluster_labels
from dedup.config import Config, ConfigError
from dedup.dataset.decoding import one_line
from dedup.distributed.bucket import fetch_files, list_bucket
from dedup.distributed.shards import make_listing, make_part, missing, read_embeddings, write_part
from dedup.encoder.embeddings import Embeddings, Gathering, read_and_encode
from dedup.encoder.inference import at_work
from dedup.encoder.model import EncoderCNN, load_encoder
from dedup.matching.neighbors import candidate_graph
from dedup.output import Phases, progress_bar, write_table
from dedup.report.messages import shown
from dedup.store import code_digest, status_now

BATCH = 1024  # files an actor takes at a time; files from a bucket lie on its disk meanwhile
PARTS = "embeddings"  # folder in output_dir
CORES = 2  # of an actor without GPU: one reads, one encodes


def list_folder(paths: Sequence[Path], folder: Path) -> pa.Table:
    """A listing of files in a folder that every machine sees at the same place.

    A file without a status, such as one that has vanished, has -1 bytes; the reason is found when it is read.
    """
    names = [os.fsencode(path.relative_to(folder)) for path in paths]
    facts = [(status_now(path) or (-1, 0))[:2] for path in paths]
    return make_listing(names, [size for size, _ in facts], [changed for _, changed in facts])


def embed_on_cluster(
    encoder: EncoderCNN,
    source: str | Path,
    listing: pa.Table,
    config: Config,
    address: str,
    progress: bool | Phases = True,
) -> Embeddings:
    """Read and embed the files of a listing on a Ray cluster.

    Parts in config.output_dir that are of the same encoder and the same files are not computed again.

    source : the folder or URI that the listing's paths are relative to
    address : of the cluster, as `ray.init` takes it: auto, ray://host:10001, local
    Returns Embeddings in the listing's order; `paths` are relative to the source
    Raises ConfigError : there is no cluster at that address
    """
    side = config.image_resize or encoder.image_resize
    parts = config.output_dir / PARTS / _digest(encoder, side)
    parts.mkdir(parents=True, exist_ok=True)
    todo = missing(listing, parts)
    blocks = [todo.slice(start, BATCH) for start in range(0, len(todo), BATCH)]
    with progress_bar(progress, len(todo), "Embedding", "images") as bar:
        for part in _run(blocks, address, encoder.cpu(), str(source), side, config.batch_size) if blocks else ():
            write_part(part, parts)
            bar.update(len(part))
    return read_embeddings(listing, parts, encoder.embedding_size)


def embed_folder(
    encoder: EncoderCNN, paths: Sequence[Path], config: Config, address: str, progress: bool | Phases = True
) -> Embeddings:
    """`extract_embeddings` on a Ray cluster, all of whose machines see config.images_dir at the same place."""
    source, listing = os.path.abspath(config.images_dir), list_folder(paths, config.images_dir)
    found = embed_on_cluster(encoder, source, listing, config, address, progress)
    failures = {config.images_dir / path: reason for path, reason in found.failures.items()}
    return replace(found, paths=[config.images_dir / path for path in found.paths], failures=failures)


def cluster_bucket(source: str, config: Config, address: str, progress: bool = True) -> tuple[Embeddings, np.ndarray]:
    """Cluster the files under a URI by the encoder alone, and write clusters.csv: path, cluster, distance to its first.

    Returns Embeddings of n files; labels (n,), -1 = unique. Raises ConfigError if the source can't be listed, or there
    is no cluster.
    """
    try:
        listing = list_bucket(source, config.extensions)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{source} can't be listed: {one_line(error)}") from error
    encoder = load_encoder(config.encoder, config.embedding_size)
    epsilon = encoder.strict_epsilon if config.epsilon is None else config.epsilon
    embeddings = embed_on_cluster(encoder, source, listing, config, address, progress)
    labels = cluster_labels(candidate_graph(embeddings, epsilon, progress), epsilon)
    _write_clusters(embeddings, labels, config.output_dir / "clusters.csv")
    return embeddings, labels


def _write_clusters(embeddings: Embeddings, labels: np.ndarray, path: Path) -> None:
    rows = np.flatnonzero(labels >= 0)
    rows = rows[np.argsort(labels[rows], kind="stable")]
    first = rows[np.searchsorted(labels[rows], labels[rows])]  # of each row's cluster
    vectors, found = embeddings.vectors, []
    for row, other in zip(rows.tolist(), first.tolist(), strict=True):
        distance = max(0.0, 1 - float(vectors[row] @ vectors[other]))
        found.append((shown(embeddings.paths[row].as_posix()), labels[row] + 1, f"{distance:.4f}"))
    write_table(path, ("path", "cluster", "distance"), found)


def _run(blocks: list[pa.Table], address: str, *settings):
    """Parts of the blocks, as they get done."""
    import ray

    packages = [str(Path(dedup.__file__).parent)]
    try:
        ray.init(address, runtime_env={"py_modules": packages}, ignore_reinit_error=True, log_to_driver=False)
    except (ConnectionError, ValueError) as error:  # ValueError: not an address
        raise ConfigError(f"no Ray cluster at {address}: {one_line(error)}") from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    cores, gpus, actors = share_out(ray.nodes())
    done = ray.data.from_arrow(blocks).map_batches(
        _Actor,
        fn_constructor_args=(cores, *settings),
        batch_size=None,  # a block
        batch_format="pyarrow",
        num_cpus=cores,
        num_gpus=gpus,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(actors, len(blocks))),
    )
    return done.iter_batches(batch_size=None, batch_format="pyarrow")


def share_out(nodes: Sequence[dict]) -> tuple[int, int, int]:
    """Cores and GPUs of an actor, and how many there are: one for each GPU, or for a few cores where there is none."""
    machines = [node["Resources"] for node in nodes if node["Alive"]]
    gpus = [machine for machine in machines if machine.get("GPU")]
    if gpus:
        cores = max(1, int(min(machine["CPU"] / machine["GPU"] for machine in gpus)))
        return cores, 1, sum(int(machine["GPU"]) for machine in gpus)
    return CORES, 0, max(1, sum(int(machine.get("CPU", 0)) // CORES for machine in machines))


class _Actor:
    """Holds the encoder on one machine: a block of a listing in, a part out."""

    def __init__(self, cores: int, encoder: EncoderCNN, source: str, side: int, batch_size: int):
        self.encoder, self.source, self.settings = at_work(encoder), source, (side, batch_size, max(1, cores - 1))

    def __call__(self, block: pa.Table) -> pa.Table:
        names = [os.fsdecode(name) for name in block["path"].to_pylist()]
        with ExitStack() as stack:
            if "://" in self.source:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                paths = [folder / f"{row}{Path(name).suffix}" for row, name in enumerate(names)]
                lost = fetch_files(self.source, names, paths)
            else:
                paths, lost = [Path(self.source, name) for name in names], {}
            gathering = Gathering(paths, self.encoder.about.embedding_size)
            read_and_encode(gathering, self.encoder, *self.settings, gathering.bar(progress=False))
        return make_part(block, gathering, lost)


def _digest(encoder: EncoderCNN, side: int) -> str:
    """Digest of everything that decides vectors: weights, settings and code; vectors of one digest are comparable."""
    digest = hashlib.sha256(code_digest("dataset", "encoder", "distributed", given=side))
    for name, numbers in sorted(encoder.state_dict().items()):
        digest.update(name.encode() + numbers.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
