"""Inference. Input: square images. Output: unit vectors.

images (b, S, S, 3) uint8 RGB  ->  vectors (b, embedding_size) float32, unit norm

ONNX Runtime works on processors, torch on a GPU and for weights that only torch reads.
"""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dedup.dataset.decoding import DIGEST, digest_of, one_line

if TYPE_CHECKING:
    import torch

WEIGHTS_DIR = Path(__file__).parent / "weights"
DEFAULT = "copydet"


class EncoderError(ValueError):
    """An encoder can't be loaded as asked, or fails at work; the text is one line that says what to do."""


class About(NamedTuple):
    """An encoder's settings. device : what it runs on"""

    embedding_size: int
    image_resize: int
    epsilon: float
    strict_epsilon: float
    device: str = "cpu"

    @classmethod
    def read(cls, stored: Mapping[str, str]) -> About:
        """From the metadata of a file of `export_encoder`. Raises KeyError, ValueError."""
        sizes = (int(stored[name]) for name in ("embedding_size", "image_resize"))
        return cls(*sizes, float(stored["epsilon"]), float(stored["strict_epsilon"]))


class OnnxEncoder:
    """A file of `export_encoder`, run by ONNX Runtime on this machine's processors, in float32.

    name : for messages
    embedding_size : keep that many leading numbers; None = all
    Raises EncoderError : missing or wrong file, embedding_size out of range
    """

    def __init__(self, path: Path, name: str, embedding_size: int | None = None):
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = cores()
        options.log_severity_level = 4  # errors are raised instead
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # decoders need the cores as well
        with failures_of_file_told(path):
            self._session = ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
            about = About.read(self._session.get_modelmeta().custom_metadata_map)
        self._size = about.embedding_size
        self.about = about._replace(embedding_size=check_size(name, embedding_size, self._size) or self._size)

    def encode(self, images: np.ndarray) -> np.ndarray:
        """(b, S, S, 3) uint8  ->  (b, embedding_size) float32. Raises EncoderError."""
        with _failures_told("cpu"):
            (vectors,) = self._session.run(["vectors"], {"images": np.ascontiguousarray(images)})
        if self.about.embedding_size < self._size:
            vectors = vectors[:, : self.about.embedding_size]
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return _checked(vectors)


class TorchEncoder:
    """An EncoderCNN on a torch device: a copy of it, with its batch norms folded."""

    def __init__(self, encoder: torch.nn.Module, device: torch.device):
        from dedup.encoder.resnet import fold_batch_norms

        names = "embedding_size", "image_resize", "epsilon", "strict_epsilon"
        self.about = About(*(getattr(encoder, name) for name in names), str(device))
        with _failures_told(device):
            self._device, self._encoder = device, copy.deepcopy(encoder).to(device).eval()
        fold_batch_norms(self._encoder)

    def encode(self, images: np.ndarray) -> np.ndarray:
        """(b, S, S, 3) uint8  ->  (b, embedding_size) float32. Raises EncoderError."""
        import torch

        with _failures_told(self._device), torch.inference_mode(), half_precision(self._device):
            squares = torch.from_numpy(images).permute(0, 3, 1, 2)  # (b, 3, S, S), channels_last
            vectors = self._encoder(squares.to(self._device)).cpu().numpy()
        return _checked(vectors, self._device.type)


Encoder = OnnxEncoder | TorchEncoder


def open_encoder(name: str, embedding_size: int | None = None) -> Encoder:
    """The encoder called `name`, as in `load_encoder`, on the fastest device. Raises EncoderError."""
    path = exported_file(name)
    if path and not has_gpu():
        return OnnxEncoder(path, name, embedding_size)
    if not find_spec("torch"):
        raise EncoderError(f"the encoder {name} needs torch: pip install -r requirements.txt; {DEFAULT} does without")
    from dedup.encoder.model import choose_device, load_encoder

    return TorchEncoder(load_encoder(name, embedding_size), choose_device())


def at_work(encoder: Encoder | torch.nn.Module, device: torch.device | None = None) -> Encoder:
    """An encoder ready to run: an EncoderCNN on a device, None = the fastest; any other is returned as it is."""
    if isinstance(encoder, Encoder):
        return encoder
    from dedup.encoder.model import choose_device

    return TorchEncoder(encoder, device or choose_device())


def exported_file(name: str) -> Path | None:
    """The file of `export_encoder` that holds an encoder; None if it is stored otherwise."""
    path = WEIGHTS_DIR / f"{DEFAULT}.onnx" if name == DEFAULT else Path(name).expanduser()
    return path if path.suffix == ".onnx" else None


def has_gpu() -> bool:
    """Whether torch and an NVIDIA driver are installed; checked without loading torch, which takes seconds."""
    return bool(find_spec("torch") and shutil.which("nvidia-smi"))


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def encoder_tag(name: str, image_resize: int | None, embedding_size: int | None) -> bytes:
    """Digest of what decides a vector besides the code: the encoder's weights, its settings, and whether on a GPU."""
    try:
        with open(exported_file(name) or Path(name).expanduser(), "rb") as file:
            weights = digest_of(file).hex()
    except OSError:  # weights of a package or torchvision are identified by its version
        weights = name
    settings = repr((weights, image_resize, embedding_size, "gpu" if has_gpu() else "cpu"))
    return hashlib.blake2b(settings.encode(), digest_size=DIGEST).digest()


def half_precision(device: torch.device) -> AbstractContextManager:
    """float16 in the trunk on an NVIDIA GPU; moves cosine distances by 2e-4 on average, 2e-3 at most.

    float32 elsewhere: bfloat16, the only half precision of some processors, moves them by six times as much, which puts
    one or two of two thousand copies into another cluster.
    """
    import torch

    return torch.autocast("cuda", torch.float16) if device.type == "cuda" else nullcontext()


def _checked(vectors: np.ndarray, device: str = "cpu") -> np.ndarray:
    if not (abs(np.linalg.norm(vectors, axis=1) - 1) < 0.01).all():  # also true for nan and zeros
        overflow = ", or too large for float16" if device == "cuda" else ""
        text = "the encoder's vectors are not of unit norm: its weights are broken"
        raise EncoderError(f"{text}{overflow}; fetch them again")
    return vectors


@contextmanager
def _failures_told(device: object) -> Iterator[None]:
    """Turn what torch or ONNX Runtime raises at work, mostly for lack of memory, into an EncoderError."""
    try:
        yield
    except Exception as error:
        text = f"the encoder failed on {device}: {one_line(error)}; a smaller batch_size needs less memory"
        raise EncoderError(text) from error


@contextmanager
def failures_of_file_told(path: Path) -> Iterator[None]:
    """Turn what reading a file of `export_encoder` raises into an EncoderError."""
    try:
        yield
    except FileNotFoundError:
        raise EncoderError(f"the encoder's weights are missing: {path}; they come with the repository") from None
    except (KeyError, ValueError) as error:
        raise EncoderError(f"{path} is not a file of export_encoder: lacks or cannot read {error}") from error
    except Exception as error:  # ONNX Runtime has a dozen types of its own, without a common one
        text = f"{path} cannot be read as ONNX ({one_line(error)}); fetch or export it again"
        raise EncoderError(text) from error


def check_size(name: str, embedding_size: int | None, largest: int) -> int | None:
    """The wanted embedding size, None = the encoder's own. Raises EncoderError if the encoder gives fewer numbers."""
    if embedding_size is not None and not 1 <= embedding_size <= largest:
        raise EncoderError(f"embedding_size of {name} is 1 to {largest}, got {embedding_size}")
    return embedding_size
