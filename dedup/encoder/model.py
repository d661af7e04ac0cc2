"""The encoder. Input: images. Output: unit vectors.

images (batch, 3, S, S) uint8 RGB  ->  vectors (batch, embedding_size) float32, unit norm
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from dedup.dataset.decoding import one_line
from dedup.encoder import efficientnet
from dedup.encoder.checkpoints import IMAGENET_EPSILON, Weights, read_weights
from dedup.encoder.inference import EncoderError, check_size
from dedup.encoder.resnet import SLIM, TORCHVISION, fold_batch_norms, resnet_trunk

DRAWN_SIZE = 256  # of an embedding without a trained final layer
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LITE0 = "efficientnet-lite0"


class GeM(nn.Module):
    """Generalised-mean pooling of magnitudes over height and width (Radenovic et al., TPAMI 2019, section 3.2).

    (batch, channels, height, width) -> (batch, channels). power 1 is the mean, large powers near the maximum.
    """

    def __init__(self, power: float = 3.0):
        super().__init__()
        self.power = power

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.float().abs().clamp(min=1e-6).pow(self.power).mean(dim=(2, 3)).pow(1 / self.power)


class Branch(nn.Module):
    """A network without its classification layer, and the pooling of its maps.

    images (batch, 3, S, S) uint8 RGB -> (batch, channels)

    trunk : (batch, 3, S, S) float -> (batch, ..., height, width), or a list of such maps
    channels : of all the trunk's maps together
    mean, std : of each channel of the images that the trunk was trained on, as shares of white
    """

    def __init__(
        self,
        trunk: nn.Module,
        channels: int,
        power: float = 3.0,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ):
        super().__init__()
        self.trunk, self.pool, self.channels = trunk, GeM(power), channels
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.trunk((images.float() - self.mean) / self.std)
        return torch.cat([self.pool(each) for each in (maps if isinstance(maps, list) else [maps])], dim=1)


class LocalCentering(nn.Module):
    """Subtracts from a vector what it shares with the nearest training photos (Hara et al., AAAI 2015). That separates
    pictures of one kind, of which a folder may hold hundreds.

    (batch, d) unit norm -> (batch, d) unit norm

    photos : (k, d) unit norm, of training photos; the nearest count most
    share : of their weighted mean that is subtracted
    temperature : of the weights, a softmax of cosines
    """

    def __init__(self, photos: torch.Tensor, share: float = 0.5, temperature: float = 0.04):
        super().__init__()
        self.register_buffer("photos", photos)
        self.share, self.temperature = share, temperature

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        weights = torch.softmax(vectors @ self.photos.T / self.temperature, dim=1)  # (batch, k)
        return F.normalize(vectors - self.share * weights @ self.photos)


class EncoderCNN(nn.Module):
    """Pre-trained networks without their classification layers, pooling, a linear layer, L2 norm, local centering.

    Parameters
    ----------
    branches : networks side by side, each given the whole picture
    embedding_size : outputs of the linear layer; a smaller `encoder.embedding_size` keeps that many leading numbers
    image_resize : side S, in pixels, of the square images the encoder is best at
    epsilon : cosine distance in [0, 2] up to which two images are candidates, unless the user sets another one
    strict_epsilon : the same if candidates are not confirmed afterwards; None = epsilon
    centering : of the unit vectors; None = they stay as they are
    """

    def __init__(
        self,
        branches: Sequence[Branch],
        embedding_size: int,
        image_resize: int,
        epsilon: float = IMAGENET_EPSILON,
        strict_epsilon: float | None = None,
        centering: LocalCentering | None = None,
    ):
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.embedding = nn.Linear(sum(branch.channels for branch in branches), embedding_size)
        self.centering = centering or nn.Identity()
        self.embedding_size, self.image_resize, self.epsilon = embedding_size, image_resize, epsilon
        self.strict_epsilon = epsilon if strict_epsilon is None else strict_epsilon

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = torch.cat([branch(images) for branch in self.branches], dim=1)  # (batch, channels)
        with torch.autocast(images.device.type, enabled=False):  # half precision is too little for small distances
            vectors = self.centering(F.normalize(self.embedding(features.float())))
            if self.embedding_size < vectors.shape[1]:
                vectors = F.normalize(vectors[:, : self.embedding_size])
            return vectors  # (batch, embedding_size)


def branches_of(network: str) -> list[Branch]:
    """Untrained branches of a network: slim14, torchvision's ResNets and efficientnet-lite0, joined by +."""
    known, branches = (*TORCHVISION, SLIM), []
    for name in network.split("+"):
        if name == LITE0:
            trunk, channels = efficientnet.EfficientNetLite0(), efficientnet.CHANNELS
            branches.append(Branch(trunk, channels, mean=efficientnet.MEAN, std=efficientnet.STD))
        elif name in known:
            branches.append(Branch(*resnet_trunk(name)))
        else:
            raise EncoderError(f"a network is made of {', '.join([*known, LITE0])}, joined by +; got {network!r}")
    return branches


def copy_detection_encoder(embedding_size: int = 256, image_resize: int = 160, network: str = "slim14") -> EncoderCNN:
    """An untrained encoder of a network that `branches_of` knows."""
    return EncoderCNN(branches_of(network), embedding_size, image_resize)


def load_encoder(name: str, embedding_size: int | None = None) -> EncoderCNN:
    """Build the encoder called `name` with its trained weights, in eval mode, on the CPU.

    Parameters
    ----------
    name : copydet (shipped); imagenet (EfficientNet-Lite0, from a package); resnet18 or resnet50 (ImageNet, downloaded
        by torchvision); or a path to a checkpoint: a torchvision ResNet state dict, SSCD's ResNet-50
        (*.torchvision.pt), or a file of `export_encoder` (*.onnx), whose epsilon alone is calibrated
    embedding_size : keep that many leading directions; None = all of a trained final layer, else 256. ImageNet's
        networks have none: they get a seeded orthogonal projection, the same in every run.

    Raises
    ------
    EncoderError : unknown name, missing or wrong file, no network, embedding_size out of range
    """
    weights = read_weights(name)
    branches = branches_of(weights.network)
    for branch in branches:
        branch.pool.power = weights.power
    projection, bias = _final_layer(weights, sum(branch.channels for branch in branches), embedding_size, name)
    settings = weights.image_resize, weights.epsilon, weights.strict_epsilon
    centering = LocalCentering(weights.photos, *weights.centering) if weights.photos is not None else None
    encoder = EncoderCNN(branches, len(projection), *settings, centering).eval()
    state = weights.branches
    if weights.is_folded:
        fold_batch_norms(encoder.branches)
        zeros = {name: torch.zeros_like(value) for name, value in encoder.branches.state_dict().items()}
        state = {name: value for name, value in zeros.items() if name.endswith("bias")} | state  # zeros aren't stored
    try:
        encoder.branches.load_state_dict(state)
        encoder.embedding.load_state_dict({"weight": projection, "bias": bias})
    except RuntimeError as error:
        raise EncoderError(f"{name} does not fit a {weights.network}: {one_line(error)}") from error
    encoder.embedding_size = embedding_size or len(projection)
    return encoder


def choose_device() -> torch.device:
    """The fastest device here: cuda, mps or cpu."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _final_layer(
    weights: Weights, channels: int, embedding_size: int | None, name: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (size, channels) and bias (size,) of the linear layer."""
    check_size(name, embedding_size, channels if weights.projection is None else len(weights.projection))
    if weights.projection is not None:
        return weights.projection, weights.bias
    size = embedding_size or DRAWN_SIZE
    return _orthogonal_rows(size, channels), torch.zeros(size)


def _orthogonal_rows(size: int, channels: int, seed: int = 0) -> torch.Tensor:
    """(size, channels) with orthonormal rows, from a seeded normal matrix."""
    normal = torch.randn(channels, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.qr(normal).Q.T.float().contiguous()
