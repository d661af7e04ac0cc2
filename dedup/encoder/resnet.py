"""Residual networks (He et al., CVPR 2016): a name in, a trunk out whose tensors are called as torchvision calls them.

images (batch, 3, S, S) float  ->  features (batch, channels, S / 16 or S / 32, ...)

Written out here because importing torchvision takes longer than encoding hundreds of pictures.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class Network(NamedTuple):
    """How a ResNet is built; torchvision's, or one that is slimmer.

    blocks, widths : of each layer: how many blocks, and the channels of their 3 x 3 convolutions
    is_bottleneck : blocks of three convolutions, which give four times as many channels
    is_coarse : the first convolution takes steps of 4 px, in place of 2 and a pooling: a quarter of its work
    """

    blocks: tuple[int, ...]
    is_bottleneck: bool = False
    widths: tuple[int, ...] = (64, 128, 256, 512)
    is_coarse: bool = False


NETWORKS = {  # by name, those of torchvision as there
    "resnet18": Network((2, 2, 2, 2)),
    "resnet34": Network((3, 4, 6, 3)),
    "resnet50": Network((3, 4, 6, 3), is_bottleneck=True),
    "resnet101": Network((3, 4, 23, 3), is_bottleneck=True),
    "resnet152": Network((3, 8, 36, 3), is_bottleneck=True),
    "slim14": Network((1, 1, 2, 2), widths=(32, 64, 128, 256), is_coarse=True),  # a fifth of a ResNet-18's work
}


class Block(nn.Module):
    """Two 3 x 3 convolutions, or 1 x 1, 3 x 3 and 1 x 1 in a bottleneck, beside a shortcut."""

    def __init__(self, channels: int, width: int, stride: int, is_bottleneck: bool):
        super().__init__()
        out = 4 * width if is_bottleneck else width
        plan = [(width, 1, 1), (width, 3, stride), (out, 1, 1)] if is_bottleneck else [(width, 3, stride), (out, 3, 1)]
        before = channels
        for number, (after, side, step) in enumerate(plan, start=1):
            self.add_module(f"conv{number}", nn.Conv2d(before, after, side, step, side // 2, bias=False))
            self.add_module(f"bn{number}", nn.BatchNorm2d(after))
            before = after
        self.depth, self.relu, self.downsample = len(plan), nn.ReLU(inplace=True), None
        if stride > 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        for number in range(1, self.depth + 1):
            x = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x))
            x = self.relu(x + shortcut if number == self.depth else x)
        return x


def resnet_trunk(name: str) -> tuple[nn.Module, int]:
    """An untrained ResNet and its number of channels; `name` is one of NETWORKS."""
    network = NETWORKS[name]
    channels = network.widths[0]
    trunk = OrderedDict(
        conv1=nn.Conv2d(3, channels, 7, 4 if network.is_coarse else 2, 3, bias=False),
        bn1=nn.BatchNorm2d(channels),
        relu=nn.ReLU(inplace=True),
        maxpool=nn.Identity() if network.is_coarse else nn.MaxPool2d(3, 2, 1),
    )
    for number, (count, width) in enumerate(zip(network.blocks, network.widths, strict=True), start=1):
        blocks = []
        for place in range(count):
            blocks.append(Block(channels, width, 2 if number > 1 and not place else 1, network.is_bottleneck))
            channels = 4 * width if network.is_bottleneck else width
        trunk[f"layer{number}"] = nn.Sequential(*blocks)
    layers = nn.Sequential(trunk)
    for module in layers.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return layers.to(memory_format=torch.channels_last), channels


def fold_batch_norms(network: nn.Module) -> None:
    """Fold each batch norm of a trained trunk into the convolution before it, in place: the same function, faster."""
    before, before_name = None, ""
    for name, module in list(network.named_children()):
        if isinstance(module, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
            setattr(network, before_name, fuse_conv_bn_eval(before, module))
            setattr(network, name, nn.Identity())
        fold_batch_norms(module)
        before, before_name = module, name
