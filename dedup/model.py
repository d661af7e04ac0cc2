"""The encoder: images in, unit vectors out.

images (batch, 3, S, S) uint8 RGB  ->  vectors (batch, embedding_size) float32, unit norm
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

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
    """

    def __init__(self, trunk: nn.Module, channels: int, embedding_size: int, image_resize: int, power: float = 3.0):
        super().__init__()
        self.trunk, self.pool, self.embedding = trunk, GeM(power), nn.Linear(channels, embedding_size)
        self.embedding_size, self.image_resize = embedding_size, image_resize
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        images = (images - self.mean) / self.std  # (batch, 3, S, S)
        features = self.pool(self.trunk(images.contiguous(memory_format=torch.channels_last)))  # (batch, channels)
        return F.normalize(self.embedding(features).float())  # (batch, embedding_size)


def resnet_trunk(name: str, last: str = "layer4") -> tuple[nn.Module, int]:
    """A torchvision ResNet up to and with block `last`, untrained; and its number of channels."""
    from torchvision import models

    children = OrderedDict(getattr(models, name)(weights=None).named_children())
    names = list(children)
    trunk = nn.Sequential(OrderedDict((child, children[child]) for child in names[: names.index(last) + 1]))
    block = trunk[-1][-1]
    channels = (block.bn3 if hasattr(block, "bn3") else block.bn2).num_features
    return trunk.to(memory_format=torch.channels_last), channels


def copy_detection_encoder(embedding_size: int = 256, image_resize: int = 160) -> EncoderCNN:
    """The architecture of the shipped encoder: ResNet-18 up to layer3, untrained."""
    trunk, channels = resnet_trunk("resnet18", last="layer3")
    return EncoderCNN(trunk, channels, embedding_size, image_resize)
