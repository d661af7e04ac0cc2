"""Weight files: an encoder's name or a path in, the tensors of an EncoderCNN out; and back, after training.

name  ->  Weights: trunk's tensors, final linear layer with its rows sorted by principal direction, how to use them
"""

from __future__ import annotations

import http.client
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dedup.encoder.inference import WEIGHTS_DIR, EncoderError
from dedup.encoder.resnet import NETWORKS, Network

# Stated, not calibrated, and on the careful side: pooled ImageNet features lie close together, so only near-exact
# copies are nearer than this.
IMAGENET_EPSILON = 0.05
# SSCD's README gives 0.25 for 90 % precision among DISC's million images; a personal folder deserves fewer mistakes.
SSCD_EPSILON = 0.2
_NAMES = {network: name for name, network in NETWORKS.items()}
_EXPECTED = (
    "expected a torchvision ResNet-18, 34, 50, 101 or 152 state dict, an SSCD ResNet-50 (*.torchvision.pt), "
    "or a .safetensors file written by export_encoder"
)
_OFFLINE = "or choose the encoder copydet, which needs no download"


@dataclass(frozen=True)
class Weights:
    """What an EncoderCNN is built from.

    network : a name in `dedup.encoder.resnet.NETWORKS`
    trunk : tensors by their name in EncoderCNN, float32
    projection, bias : (size, channels) and (size,), rows by falling principal direction; None = to be drawn
    """

    network: str
    trunk: dict[str, torch.Tensor]
    image_resize: int
    epsilon: float
    strict_epsilon: float | None = None  # for use without confirmation; None = epsilon
    power: float = 1.0  # the average pooling of torchvision's ResNets
    projection: torch.Tensor | None = None
    bias: torch.Tensor | None = None


def read_weights(name: str) -> Weights:
    """Find and read the weights called `name`: copydet, resnet18, resnet50, or a path.

    Raises
    ------
    EncoderError : unknown name, missing or wrong file, no network for a first download
    """
    if name == "copydet":
        return _read_exported(WEIGHTS_DIR / "copydet.safetensors")
    if name in ("resnet18", "resnet50"):
        return _from_state(_download(name), name)
    path = Path(name).expanduser()
    if not path.is_file():
        raise EncoderError(f"encoder is copydet, resnet18, resnet50 or a checkpoint's path; no such file: {name}")
    if path.suffix == ".safetensors":
        return _read_exported(path)
    return _from_state(_load_state(path), str(path))


def export_encoder(encoder: torch.nn.Module, vectors: np.ndarray, path: Path, metadata: Mapping[str, object]) -> None:
    """Write a trained encoder as float16 safetensors, its final layer turned to the principal directions of `vectors`.

    The turn keeps every cosine, so the leading rows alone are the best shorter embedding. The directions are those of
    the second moment about zero, not about the mean: cosines are taken from zero. Vectors of one value a channel
    (biases, batch norm) stay float32; they are small, and variances may be tiny.

    Parameters
    ----------
    encoder : EncoderCNN
    vectors : (n, embedding_size) float32, unit norm: what the encoder gave for training images
    metadata : epsilon, image_resize and network at least; stored as strings

    Raises
    ------
    ValueError : vectors of another length, metadata missing or unknown, weights that float16 cannot hold
    """
    if vectors.ndim != 2 or vectors.shape[1] != encoder.embedding_size:
        raise ValueError(f"vectors are (n, {encoder.embedding_size}) for this encoder, got {vectors.shape}")
    if missing := {"epsilon", "image_resize", "network"} - set(metadata):
        raise ValueError(f"metadata lacks {', '.join(sorted(missing))}")
    if metadata["network"] not in NETWORKS:
        raise ValueError(f"network is one of {', '.join(NETWORKS)}, got {metadata['network']!r}")
    state = {name: tensor.detach().cpu() for name, tensor in encoder.state_dict().items()}
    directions = _principal_directions(vectors)  # (embedding_size, embedding_size), rows
    for name in ("embedding.weight", "embedding.bias"):
        state[name] = (directions @ state[name].double()).float()
    state = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    state = {name: (tensor.half() if tensor.ndim > 1 else tensor).contiguous() for name, tensor in state.items()}
    if broken := [name for name, tensor in state.items() if not tensor.isfinite().all()]:
        raise ValueError(f"not finite as float16: {', '.join(broken)}")
    from safetensors.torch import save_file

    strings = {key: str(value) for key, value in metadata.items()} | {"embedding_size": str(encoder.embedding_size)}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, strings)


def _principal_directions(vectors: np.ndarray) -> torch.Tensor:
    """Rows are the eigenvectors of the second moment, largest first, largest component positive."""
    wide = torch.from_numpy(np.asarray(vectors, dtype=np.float64))
    rows = torch.linalg.eigh(wide.T @ wide).eigenvectors.T.flip(0)  # eigh sorts upwards
    return rows * rows.gather(1, rows.abs().argmax(1, keepdim=True)).sign()


def _read_exported(path: Path) -> Weights:
    """A file of export_encoder."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - not a dict
        size, image_resize = int(metadata["embedding_size"]), int(metadata["image_resize"])
        epsilon, projection, bias = float(metadata["epsilon"]), state.pop("embedding.weight"), state["embedding.bias"]
        network = metadata.get("network", "resnet18-layer3")  # files of earlier releases do not say
    except FileNotFoundError:
        raise EncoderError(f"the encoder's weights are missing: {path}; they come with the repository") from None
    except (OSError, SafetensorError) as error:
        raise EncoderError(f"{path} cannot be read as safetensors ({error}); fetch or export it again") from error
    except (KeyError, ValueError) as error:
        raise EncoderError(f"{path} is not a file of export_encoder: lacks or cannot read {error}") from error
    if len(projection) != size:
        raise EncoderError(f"{path} says embedding_size {size}, but holds {len(projection)} rows; export it again")
    if network not in NETWORKS:
        raise EncoderError(f"{path} is of the network {network!r}, which is not known here; train or export it again")
    trunk = {key: tensor for key, tensor in state.items() if key.startswith("trunk.")}
    strict = float(metadata.get("strict_epsilon", epsilon))
    return Weights(network, trunk, image_resize, epsilon, strict, 3.0, projection, bias)


def _download(name: str) -> dict[str, torch.Tensor]:
    """torchvision's ImageNet weights, from its cache folder or the network."""
    from torchvision import models

    weights = models.get_model_weights(name).DEFAULT
    path = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[1]
    if path.exists():
        return _load_state(path)
    try:
        return weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise EncoderError(
            f"{name} is not here and {weights.url} failed ({error}); put it at {path}, {_OFFLINE}"
        ) from error


def _load_state(path: Path) -> dict[str, torch.Tensor]:
    """A state dict from a .pt or .pth file; nothing in the file is executed."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(member.endswith("/constants.pkl") for member in archive.namelist()):
                raise EncoderError(f"{path} is a TorchScript program, which is not run here; {_EXPECTED}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load answers strange bytes with nearly every type
        raise EncoderError(f"{path} is no state dict ({type(error).__name__}); {_EXPECTED}") from error
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise EncoderError(f"{path} holds no plain state dict; {_EXPECTED}")
    return state


def _from_state(state: dict[str, torch.Tensor], name: str) -> Weights:
    """Recognise a torchvision ResNet, plain or in SSCD's `backbone.`, by its keys and shapes."""
    sscd = all(key.startswith("backbone.") for key in state)
    state = {key.removeprefix("backbone."): tensor.float() for key, tensor in state.items()}
    blocks = tuple(len({key.split(".")[1] for key in state if key.startswith(f"layer{k}.")}) for k in (1, 2, 3, 4))
    resnet = _NAMES.get(Network(blocks, is_bottleneck="layer1.0.conv3.weight" in state))
    trunk = {f"trunk.{key}": tensor for key, tensor in state.items() if not key.startswith("fc.")}
    inner = state.get("layer1.0.conv2.weight")
    if resnet is None or inner is None or inner.shape != (64, 64, 3, 3):  # wide ResNets and ResNeXts differ here
        raise EncoderError(f"{name} holds another network; {_EXPECTED}")
    if not sscd:
        return Weights(resnet, trunk, image_resize=224, epsilon=IMAGENET_EPSILON)
    weight, bias = state.get("fc.weight"), state.get("fc.bias")
    if weight is None or bias is None or resnet != "resnet50" or weight.ndim != 2 or len(weight) != len(bias):
        raise EncoderError(f"{name} has a backbone, but not SSCD's ResNet-50 with its fc layer; {_EXPECTED}")
    directions = _principal_directions(weight.T.numpy())  # keeps cosines; the layer's own, for want of images
    projection, bias = (directions @ weight.double()).float(), (directions @ bias.double()).float()
    return Weights(resnet, trunk, 320, SSCD_EPSILON, power=3.0, projection=projection, bias=bias)
