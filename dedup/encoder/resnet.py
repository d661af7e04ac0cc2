"""Residual networks (He et al., CVPR 2016). Input: a name. Output: a trunk, its tensors named as in torchvision.

images (batch, 3, S, S) float  ->  features (batch, channels, S / 32, S / 32)

slim14 is built here, smaller than torchvision's, whose import takes longer than encoding hundreds of pictures.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# torchvision's: blocks of each layer, and whether these have three convolutions, the middle one narrower
TORCHVISION = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}
SLIM = "slim14"  # a fifth of a ResNet-18's work
LAYERS = ((1, 32), (1, 64), (2, 128), (2, 256))  # of slim14: blocks and channels


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        self.relu, self.downsample = nn.ReLU(inplace=True), None
        if stride > 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)


def resnet_trunk(name: str) -> tuple[nn.Module, int]:
    """An untrained ResNet and its number of channels; `name` is slim14 or one of TORCHVISION."""
    trunk, channels = _slim14() if name == SLIM else _torchvisions(name)
    return trunk.to(memory_format=torch.channels_last), channels


def _torchvisions(name: str) -> tuple[nn.Module, int]:
    from torchvision import models

    network = models.get_model(name)
    *layers, _, classifier = network.named_children()  # without the pooling and the classifier
    return nn.Sequential(OrderedDict(layers)), classifier[1].in_features


def _slim14() -> tuple[nn.Module, int]:
    """The first convolution has stride 4, in place of stride 2 and a pooling: a quarter of the work."""
    channels = LAYERS[0][1]
    trunk = OrderedDict(
        conv1=nn.Conv2d(3, channels, 7, 4, 3, bias=False), bn1=nn.BatchNorm2d(channels), relu=nn.ReLU(inplace=True)
    )
    for number, (count, width) in enumerate(LAYERS, start=1):
        blocks = []
        for place in range(count):
            blocks.append(Block(channels, width, 2 if number > 1 and not place else 1))
            channels = width
        trunk[f"layer{number}"] = nn.Sequential(*blocks)
    layers = nn.Sequential(trunk)
    for module in layers.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return layers, channels


def fold_batch_norms(network: nn.Module) -> None:
    """Fold each batch norm of a trained trunk into the convolution before it, in place: the same function, faster."""
    before, before_name = None, ""
    for name, module in list(network.named_children()):
        if isinstance(module, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
            setattr(network, before_name, fuse_conv_bn_eval(before, module))
            setattr(network, name, nn.Identity())
        fold_batch_norms(module)
        before, before_name = module, name
