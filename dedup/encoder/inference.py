"""Encoders at work: the squares of a Reader in, their vectors out, computed here or in a process of its own.

squares (b, 3) of a Batch  ->  vectors (b, embedding_size) float32, unit norm
"""

from __future__ import annotations

import copy
import hashlib
import multiprocessing
import os
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dedup.dataset.decoding import DIGEST, digest_of, one_line
from dedup.dataset.reading import BEHIND, Reader, as_squares
from dedup.workers import START_METHOD, serve_parent

if TYPE_CHECKING:
    import torch

WEIGHTS_DIR = Path(__file__).parent / "weights"


class EncoderError(ValueError):
    """An encoder cannot be had as asked, or fails at work; its text is one line with the way out."""


class About(NamedTuple):
    """What is to be known of an encoder besides its vectors. device : that it runs on"""

    embedding_size: int
    image_resize: int
    epsilon: float
    strict_epsilon: float
    device: str


def encoder_tag(name: str, image_resize: int | None, embedding_size: int | None) -> bytes:
    """What decides a vector besides the code: the encoder's weights and its settings."""
    path = WEIGHTS_DIR / "copydet.safetensors" if name == "copydet" else Path(name).expanduser()
    try:
        with open(path, "rb") as file:
            weights = digest_of(file).hex()
    except OSError:  # a name of torchvision's, whose weights go by its version
        weights = name
    settings = repr((weights, image_resize, embedding_size))
    return hashlib.blake2b(settings.encode(), digest_size=DIGEST).digest()


class LocalEncoder:
    """An encoder in this process. It works on a copy of `encoder`, with its batch norms folded.

    Attributes
    ----------
    behind : batches that may be submitted before the first of them is taken
    """

    behind = 0

    def __init__(self, encoder: torch.nn.Module, device: torch.device):
        from dedup.encoder.resnet import fold_batch_norms

        self.about = about_encoder(encoder, device)
        with _failures_told(device):
            self._device, self._encoder = device, copy.deepcopy(encoder).to(device).eval()
        if hasattr(self._encoder, "trunk"):
            fold_batch_norms(self._encoder.trunk)
        self._found: deque[np.ndarray] = deque()

    def submit(self, reader: Reader, squares: np.ndarray) -> None:
        """Encode a batch of a reader; `take` gives the vectors, in the order of submission."""
        self._found.append(self.encode(reader.squares[squares[:, 1], squares[:, 2]], reader.batch_size))

    def take(self) -> np.ndarray:
        return self._found.popleft()

    def encode(self, images: np.ndarray, at_once: int) -> np.ndarray:
        """(b, S, S, 3) uint8  ->  (b, embedding_size) float32; `at_once` of them take memory for activations.

        Raises EncoderError.
        """
        import torch

        with _failures_told(self._device), torch.inference_mode(), half_precision(self._device):
            parts = torch.from_numpy(images).permute(0, 3, 1, 2).split(at_once)  # (<= at_once, 3, S, S), channels_last
            vectors = torch.cat([self._encoder(part.to(self._device)).cpu() for part in parts]).numpy()
        if not (abs(np.linalg.norm(vectors, axis=1) - 1) < 0.01).all():  # not a number, or nothing
            overflow = ", or too large for float16" if self._device.type == "cuda" else ""
            text = "the encoder's vectors are not of unit norm: its weights are broken"
            raise EncoderError(f"{text}{overflow}; fetch them again")
        return vectors

    def close(self) -> None:
        """Nothing is left open."""


class EncoderProcess:
    """An encoder in a process of its own: it is loaded while pictures are read, and its memory goes when it is closed.

    Parameters
    ----------
    reader : whose squares it will see
    name, embedding_size : as for `dedup.encoder.model.load_encoder`

    Raises
    ------
    EncoderError, ChildProcessError : by `about` and `take`
    """

    behind = BEHIND

    def __init__(self, reader: Reader, name: str, embedding_size: int | None):
        context = multiprocessing.get_context(START_METHOD)
        self._connection, theirs = context.Pipe()
        arguments = theirs, reader.ring, *reader.squares.shape[1:3], reader.batch_size, name, embedding_size
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    @cached_property
    def about(self) -> About:
        return self._receive()

    def submit(self, reader: Reader, squares: np.ndarray) -> None:
        """As of LocalEncoder, without waiting. The batch must stay in its reader until it was taken."""
        with suppress(OSError):  # it has died; `take` will hear of it
            self._connection.send(squares[:, 1:].astype(np.int32))

    def take(self) -> np.ndarray:
        self.about  # noqa: B018 - comes first
        return self._receive()

    def close(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _receive(self):
        try:
            found = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            status = self._process.exitcode
            text = f"the encoder's process died (exit status {status}); a smaller batch_size needs less memory"
            raise ChildProcessError(text) from None
        if isinstance(found, Exception):
            raise found
        return found


@contextmanager
def _failures_told(device: object) -> Iterator[None]:
    """Turn what torch raises at work, mostly for want of memory, into an EncoderError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = f"the encoder failed on {device}: {one_line(error)}; a smaller batch_size needs less memory"
        raise EncoderError(text) from error


def about_encoder(encoder: torch.nn.Module, device: object) -> About:
    names = "embedding_size", "image_resize", "epsilon", "strict_epsilon"
    return About(*(getattr(encoder, name) for name in names), str(device))


def own_side(name: str) -> int | None:
    """Side in px of the square that an encoder is best at, where that is known before it is loaded."""
    path = WEIGHTS_DIR / "copydet.safetensors" if name == "copydet" else Path(name).expanduser()
    if name in ("resnet18", "resnet50"):
        return 224
    if path.suffix != ".safetensors":
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            return int(file.metadata()["image_resize"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):  # who loads it will say what is wrong
        return None


def half_precision(device: torch.device) -> AbstractContextManager:
    """float16 in the trunk on a GPU of NVIDIA's; moves cosine distances by 2e-4 on average, 2e-3 at most.

    Elsewhere float32: bfloat16, all that some processors have, moves them by six times as much, which puts one or two
    of two thousand copies into another cluster.
    """
    import torch

    return torch.autocast("cuda", torch.float16) if device.type == "cuda" else nullcontext()


def load_local(name: str, embedding_size: int | None) -> LocalEncoder:
    """Load an encoder into this process. Raises EncoderError."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # else torch's threads spin while they wait, beside decoders
    from dedup.encoder.model import choose_device, load_encoder

    return LocalEncoder(load_encoder(name, embedding_size), choose_device())


def _serve(connection, ring, views: int, side: int, at_once: int, name: str, embedding_size: int | None) -> None:
    """What an encoder's process runs."""
    serve_parent()
    squares = as_squares(ring, views, side)
    try:
        encoder = load_local(name, embedding_size)
        connection.send(encoder.about)
        while True:
            slots, which = connection.recv().T
            connection.send(encoder.encode(squares[slots, which], at_once))
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:
        connection.send(error)
