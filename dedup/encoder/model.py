"""The encoder: images in, unit vectors out.

images (batch, 3, S, S) uint8 RGB  ->  vectors (batch, embedding_size) float32, unit norm
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from dedup.encoder.checkpoints import IMAGENET_EPSILON, EncoderError, Weights, read_weights
from dedup.encoder.resnet import resnet_trunk

DRAWN_SIZE = 256  # of an embedding without a trained final layer
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class GeM(nn.Module):
    """Generalised-mean pooling over height and width (Radenovic et al., TPAMI 2019, section 3.2).

    (batch, channels, height, width) -> (batch, channels). power 1 is the mean, large powers near the maximum.
    """

    def __init__(self, power: float = 3.0):
        super().__init__()
        self.power = power

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.float().clamp(min=1e-6).pow(self.power).mean(dim=(2, 3)).pow(1 / self.power)


class EncoderCNN(nn.Module):
    """A ResNet without its classification layer: trunk, pooling, linear embedding, L2 norm.

    Parameters
    ----------
    trunk : (batch, 3, S, S) float -> (batch, channels, height, width)
    channels : what the trunk gives
    embedding_size : length of a vector
    image_resize : side S, in pixels, of the square images the encoder is best at
    power : of the pooling
    epsilon : cosine distance in [0, 2] up to which two images are looked at as copies, unless the user says otherwise
    strict_epsilon : the same where nothing confirms them afterwards; None = epsilon
    """

    def __init__(
        self,
        trunk: nn.Module,
        channels: int,
        embedding_size: int,
        image_resize: int,
        power: float = 3.0,
        epsilon: float = IMAGENET_EPSILON,
        strict_epsilon: float | None = None,
    ):
        super().__init__()
        self.trunk, self.pool, self.embedding = trunk, GeM(power), nn.Linear(channels, embedding_size)
        self.embedding_size, self.image_resize, self.epsilon = embedding_size, image_resize, epsilon
        self.strict_epsilon = epsilon if strict_epsilon is None else strict_epsilon
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.pool(self.trunk(self._normalised(images)))  # (batch, channels)
        with torch.autocast(images.device.type, enabled=False):  # half precision is too little for small distances
            return F.normalize(self.embedding(features))  # (batch, embedding_size)

    def _normalised(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, 3, S, S) float32, channels_last, of zero mean and unit deviation in ImageNet's photos.

        By whole lines, as three values at a time take many times as long.
        """
        lines = images.permute(0, 2, 3, 1).flatten(2).to(torch.float32, copy=True)  # (batch, S, S * 3)
        width = images.shape[-1]
        lines.sub_(self.mean.flatten().repeat(width)).div_(self.std.flatten().repeat(width))
        return lines.unflatten(2, (width, 3)).permute(0, 3, 1, 2)


def copy_detection_encoder(embedding_size: int = 256, image_resize: int = 160, network: str = "slim14") -> EncoderCNN:
    """An untrained encoder of the shipped one's architecture, or with another trunk of `resnet.NETWORKS`."""
    return EncoderCNN(*resnet_trunk(network), embedding_size, image_resize)


def load_encoder(name: str, embedding_size: int | None = None) -> EncoderCNN:
    """Build the encoder called `name` with its trained weights, in eval mode, on the CPU.

    Parameters
    ----------
    name : copydet (shipped), resnet18 or resnet50 (ImageNet, downloaded by torchvision), or a path to a checkpoint:
        a torchvision ResNet state dict, SSCD's ResNet-50 (*.torchvision.pt), or a file of `export_encoder`
    embedding_size : keep that many leading directions; None = all of a trained final layer, else 256.
        ImageNet ResNets have no trained one: a seeded orthogonal projection, the same in every run, stands in.

    Returns
    -------
    EncoderCNN; its `image_resize` and `epsilon` are what this encoder is best at. `epsilon` is calibrated for files
    of `export_encoder`, a careful guess for all others.

    Raises
    ------
    EncoderError : unknown name, missing or wrong file, no network, embedding_size out of range
    """
    weights = read_weights(name)
    trunk, channels = resnet_trunk(weights.network)
    projection, bias = _final_layer(weights, channels, embedding_size, name)
    settings = weights.image_resize, weights.power, weights.epsilon, weights.strict_epsilon
    encoder = EncoderCNN(trunk, channels, len(projection), *settings)
    try:
        encoder.load_state_dict(weights.trunk | {"embedding.weight": projection, "embedding.bias": bias})
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:200]
        raise EncoderError(f"{name} does not fit a {weights.network}: {detail}") from error
    return encoder.eval()


def choose_device() -> torch.device:
    """The fastest device here: cuda, mps or cpu."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _final_layer(
    weights: Weights, channels: int, embedding_size: int | None, name: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (size, channels) and bias (size,) of the linear layer."""
    full = channels if weights.projection is None else len(weights.projection)
    size = embedding_size
    if size is None:
        size = DRAWN_SIZE if weights.projection is None else full
    if not 1 <= size <= full:
        raise EncoderError(f"embedding_size of {name} is 1 to {full}, got {embedding_size}")
    if weights.projection is None:
        return _orthogonal_rows(size, channels), torch.zeros(size)
    return weights.projection[:size], weights.bias[:size]


def _orthogonal_rows(size: int, channels: int, seed: int = 0) -> torch.Tensor:
    """(size, channels) with orthonormal rows, from a seeded normal matrix."""
    normal = torch.randn(channels, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.qr(normal).Q.T.float().contiguous()
