"""The whole pipeline. Input: a Config. Output: clusters of duplicates, with all results that led to them."""

from __future__ import annotations

import ctypes
import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from dedup.clustering.clusters import build_clusters, cluster_labels
from dedup.clustering.result import Result
from dedup.config import Config, ConfigError
from dedup.contents.companions import picture_beside
from dedup.dataset.decoding import RAW, missing_plugins
from dedup.dataset.folder_rules import NOWHERE, THUMBNAILS, Places, is_thumbnail
from dedup.dataset.images import list_images
from dedup.deletion.not_duplicates import Pair, keep_apart, read_not_duplicates
from dedup.deletion.records import BadRecord
from dedup.encoder.embeddings import Embeddings, Gathering, Memory, read_and_encode
from dedup.encoder.inference import About, encoder_tag, open_encoder
from dedup.matching.neighbors import candidate_graph
from dedup.output import FINDING, Phases
from dedup.store import CACHE, Store

CANDIDATES = 64  # of each picture, if pairs are confirmed: in a large folder many more lie within epsilon


def find_duplicates(
    config: Config, progress: bool | Phases = True, ray: str | None = None, places: Places = NOWHERE
) -> Result:
    """Find the duplicates in config.images_dir. Moves nothing, and writes nothing but what it remembers in output_dir:
    cache.sqlite and thumbnails, and a temporary file where thousands of pictures are compared.

    Parameters
    ----------
    config : if its output_dir lies inside images_dir, files in it are left out
    progress : show on stderr how far it is; or the Phases that do, with those of FINDING at least
    ray : address of the Ray cluster that reads and embeds; None = this machine
    places : folders in images_dir whose files never go; archives, whose files are not compared with each other

    Raises
    ------
    ConfigError : output_dir is images_dir, a folder of `prefer` lies outside images_dir, or the pairs remembered as no
        duplicates can't be read
    EncoderError : the encoder can't be loaded, or fails at work
    OSError : images_dir can't be read
    """
    phase = progress if isinstance(progress, Phases) else Phases(FINDING, is_shown=progress)
    others: Counter[str] = Counter()
    passed_over: list[Path] = []
    places = replace(places.preferring(config.images_dir, config.prefer), merges=config.merge_metadata)
    paths = images_to_search(config, places, others, passed_over)
    try:
        different = read_not_duplicates(config.output_dir)
    except BadRecord as error:
        raise ConfigError(str(error)) from None
    with open_store(config) if paths else Store() as store, nullcontext() if phase is progress else phase:
        try:
            found = _find(config, paths, different, store, phase, ray, places)
            return replace(found, others=others, losses=store.losses, passed_over=tuple(passed_over))
        except KeyboardInterrupt:
            count = len(store.keys("vectors"))
            known = f"{count:,} images are remembered, run the same command to go on" if count else ""
            raise KeyboardInterrupt(known) from None


def _find(
    config: Config,
    paths: list[Path],
    different: frozenset[Pair],
    store: Store,
    phase: Phases,
    ray: str | None,
    places: Places,
) -> Result:
    with phase("Reading"):
        if ray and paths:
            embeddings, about = embed_on_ray(config, paths, ray, phase)
        else:
            memory = Memory(store, encoder_tag(config.encoder, config.image_resize, config.embedding_size))
            embeddings, about = embed(config, paths, memory, phase)
    if about is None or not embeddings.paths:
        return _empty(config, embeddings)
    own_epsilon = about.epsilon if config.verify else about.strict_epsilon
    epsilon = own_epsilon if config.epsilon is None else config.epsilon
    with phase("Neighbours"):
        graph = candidate_graph(embeddings, epsilon, phase, CANDIDATES if config.verify else None)
        wanted = _wanted(embeddings.paths, config.images_dir, places)
        graph = _only(graph, wanted)
    with phase("Confirming"):
        verifier = _verifier(embeddings, config, store, phase)
        confirmed = _only(verifier.verify(graph, embeddings.vectors), wanted) if verifier else graph
        if verifier:  # which looks beyond the graph, too
            verifier.matches = {pair: match for pair, match in verifier.matches.items() if wanted(*pair)}
    with phase("Clustering"):
        if different:
            matches = verifier.matches if verifier else {}
            confirmed, matches = keep_apart(confirmed, matches, embeddings.paths, different, store)
            if verifier:
                verifier.matches = matches
        labels = cluster_labels(confirmed, epsilon)
    with phase("Checking"):
        clusters = build_clusters(
            embeddings, labels, verifier, config.images_dir, epsilon, places, store, config.remove, config.num_workers
        )
    store.forget_other_code()
    if verifier:
        verifier.forget_pictures()
        _return_memory()
    matches = verifier.matches if verifier else {}
    return Result(config, embeddings, graph, labels, matches, clusters, epsilon, about.device, places)


def open_store(config: Config) -> Store:
    """The store of earlier runs; new values are found in a process of their own, unless num_workers is 0."""
    path = config.output_dir / CACHE if config.cache else None
    return Store(path, config.images_dir, has_process=config.num_workers > 0)


def embed(
    config: Config, paths: list[Path], memory: Memory, progress: bool | Phases = False
) -> tuple[Embeddings, About | None]:
    """The files' embeddings, remembered or found now, and facts about the encoder; None if it has never run."""
    gathering = Gathering(paths, config.embedding_size)
    gathering.remember(memory)
    about, encoder = memory.about(), None
    if gathering.missing() or (paths and not about):
        encoder = open_encoder(config.encoder, config.embedding_size)
    with gathering.bar(progress) as bar:
        if gathering.missing():
            side = config.image_resize or encoder.about.image_resize
            options = config.batch_size, config.num_workers, bar, memory
            read_and_encode(gathering, encoder, side, *options, known=memory.contents_seen())
            if gathering.missing():  # some could not be recalled
                read_and_encode(gathering, encoder, side, *options)
    return gathering.result(), encoder.about if encoder else About(*about) if about else None


def embed_on_ray(config: Config, paths: list[Path], ray: str, phase: Phases) -> tuple[Embeddings, About]:
    """The same on a Ray cluster, which remembers its own results."""
    from dedup.distributed.embed import embed_folder
    from dedup.encoder.model import load_encoder

    encoder = load_encoder(config.encoder, config.embedding_size)
    about = About(*(getattr(encoder, name) for name in About._fields[:-1]), "a Ray cluster")
    return embed_folder(encoder, paths, config, ray, phase), about


def _wanted(paths: Sequence[Path], images_dir: Path, places: Places) -> Callable:
    """Whether two rows, or each two of many, may be duplicates.

    No pair has both files in archives, or a RAW file and a picture, or two RAW files with pictures beside them: what
    becomes of such RAW files is decided with their pictures.
    """
    of_archive = np.array([places.archive_of(path) > 0 for path in paths])
    raw = np.array([path.suffix.lower() in RAW for path in paths])
    beside = np.array([picture_beside(path, places.root_of(path) or images_dir) is not None for path in paths])
    return lambda i, j: ~(of_archive[i] & of_archive[j]) & (raw[i] == raw[j]) & ~(beside[i] & beside[j])


def _only(graph: csr_matrix, wanted: Callable) -> csr_matrix:
    """The edges that are wanted, and the diagonal."""
    edges = graph.tocoo()
    kept = wanted(edges.row, edges.col) | (edges.row == edges.col)
    return csr_matrix((edges.data[kept], (edges.row[kept], edges.col[kept])), shape=graph.shape)


def images_to_search(
    config: Config, places: Places = NOWHERE, others: Counter[str] | None = None, passed_over: list[Path] | None = None
) -> list[Path]:
    """The images of a folder, without the pages that a run writes; if there are any, followed by those of archives.

    others, passed_over : are filled with the number of other files by ending, and with the folders of other programs
    """
    folder, output = Path(os.path.realpath(config.images_dir)), Path(os.path.realpath(config.output_dir))
    if folder == output:
        raise ConfigError(f"output_dir {config.output_dir} is images_dir itself; choose another folder, in it or not")
    unread: list[Path] = []
    extensions = set(config.extensions).difference(*missing_plugins(config.extensions).values())
    paths = places.incoming(list_images(config.images_dir, extensions, config.exclude, unread, passed_over))
    if output.is_relative_to(folder):
        left_out = config.images_dir / output.relative_to(folder)
        paths, unread = ([path for path in some if not path.is_relative_to(left_out)] for some in (paths, unread))
    if others is not None:
        others.update(path.suffix.lower() for path in places.incoming(unread))
    archives = places.against if paths else ()
    archived = (path for archive in archives for path in list_images(archive, extensions))
    return [path for path in (*paths, *filter(places.archive_of, archived)) if not is_thumbnail(path)]


def _return_memory() -> None:
    """Let glibc return freed memory to the system; other C libraries do so themselves."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _verifier(embeddings: Embeddings, config: Config, store: Store, phase: Phases):
    """The Verifier; None if pairs are not confirmed."""
    if not config.verify:
        return None
    from dedup.matching.confirmation import Verifier

    folder = config.output_dir if config.output_dir.is_dir() else None
    thumbnails = folder / THUMBNAILS if folder else None
    return Verifier(
        embeddings.paths, config.num_workers, phase, store, embeddings.contents, folder, thumbnails, store.losses
    )


def _empty(config: Config, embeddings: Embeddings) -> Result:
    graph = csr_matrix((0, 0), dtype=np.float32)
    return Result(config, embeddings, graph, np.empty(0, int), {}, [], config.epsilon or 0.0, "")
