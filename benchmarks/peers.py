"""Other tools' perceptual hashes: files in, hashes as unit vectors out, and the pairs that each tool would call copies.

paths (n,)  ->  by tool: vectors (n, bits) float32, +-1 / sqrt(bits); cosine distance = 2 x share of unequal bits
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from tqdm import tqdm

from dedup.matching.neighbors import radius_neighbors_graph
from dedup.workers import Lost, job, run_jobs

PDQ_QUALITY = 50  # below it PDQ's authors advise not to use a hash

Compute = Callable[[Path], tuple[np.ndarray, bool]]  # file -> (bits,) bool, and whether the tool would use them


@dataclass(frozen=True)
class Peer:
    """A tool's hash and the largest number of unequal bits at which it, or its documentation, speaks of a copy."""

    name: str
    compute: Compute
    threshold: int


@dataclass(frozen=True)
class Hashes:
    """One tool's view of n files. vectors : (n, bits) float32, unit norm; usable : (n,) bool"""

    peer: Peer
    vectors: np.ndarray
    usable: np.ndarray

    def graph(self, bits: int | None = None) -> csr_matrix:
        """(n, n) CSR of cosine distances of the pairs with at most so many unequal bits, the tool's own by default."""
        bits = self.peer.threshold if bits is None else bits
        graph = radius_neighbors_graph(self.vectors, 2 * bits / self.vectors.shape[1]).tocoo()
        kept = (self.usable[graph.row] & self.usable[graph.col]) | (graph.row == graph.col)
        return csr_matrix((graph.data[kept], (graph.row[kept], graph.col[kept])), shape=graph.shape)


def _imagehash(path: Path) -> tuple[np.ndarray, bool]:
    import imagehash
    from PIL import Image

    with Image.open(path) as image:
        return imagehash.phash(image).hash.ravel(), True


def _pdq(path: Path) -> tuple[np.ndarray, bool]:
    import pdqhash
    from PIL import Image

    with Image.open(path) as image:
        bits, quality = pdqhash.compute(np.asarray(image.convert("RGB")))
    return bits.astype(bool), bool(quality >= PDQ_QUALITY)


def _imagededup(method: str) -> Compute:
    def compute(path: Path) -> tuple[np.ndarray, bool]:
        from imagededup import methods

        digits = getattr(methods, method)(verbose=False).encode_image(image_file=path)
        return np.unpackbits(np.frombuffer(bytes.fromhex(digits), np.uint8)).astype(bool), True

    return compute


PEERS = (
    Peer("imagehash pHash", _imagehash, 5),  # of its README's example
    Peer("PDQ", _pdq, 31),  # of its authors' paper
    *(Peer(f"imagededup {name}", _imagededup(name), 10) for name in ("PHash", "DHash", "WHash", "AHash")),
)


@job
def _all_hashes(path: Path) -> list[tuple[bytes, bool]]:
    """Packed bits by tool; nothing where the tool can't read the file."""
    found = []
    for peer in PEERS:
        try:
            bits, usable = peer.compute(path)
        except Exception:  # each tool has errors of its own
            bits, usable = np.zeros(0, bool), False
        found.append((np.packbits(bits).tobytes(), usable))
    return found


def read_hashes(paths: Sequence[Path], num_workers: int = 0, progress: bool = True) -> list[Hashes]:
    """Hash every file with every tool."""
    bits = [np.zeros((len(paths), 256 if peer.name == "PDQ" else 64), bool) for peer in PEERS]
    usable = np.zeros((len(PEERS), len(paths)), bool)
    found = tqdm(run_jobs(_all_hashes, list(paths), num_workers), "Hashing", len(paths), disable=not progress)
    for row, hashes in enumerate(found):
        for tool, (packed, use) in enumerate([] if isinstance(hashes, Lost) else hashes):
            usable[tool, row] = use
            if packed:
                bits[tool][row] = np.unpackbits(np.frombuffer(packed, np.uint8))
    return [hashes_of(peer, *parts) for peer, *parts in zip(PEERS, bits, usable, strict=True)]


def hashes_of(peer: Peer, bits: np.ndarray, usable: np.ndarray) -> Hashes:
    """(n, bits) bool and (n,) bool -> Hashes."""
    signs = np.where(bits, 1, -1).astype(np.float32)
    return Hashes(peer, signs / np.float32(np.sqrt(bits.shape[1])), usable)
