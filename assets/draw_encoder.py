"""Draw assets/encoder.png: `python assets/draw_encoder.py`. The photo comes with scikit-image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from drawing import (
    ASSETS,
    BLUE,
    BLUES,
    FAINT,
    GREY,
    INK,
    VERMILION,
    DrawnFigure,
    arrow,
    canvas,
    photo,
    picture,
    vector,
    write,
)
from matplotlib.patches import Circle, Ellipse, Rectangle

TOP, BOTTOM = 196, 560  # px, middles of the two networks
MIDDLE = (TOP + BOTTOM) // 2
# x, side, sheets, cells, name, shape of each volume
SLIM = (
    (405, 128, 2, 40, "layer1", "32 × 40 × 40"),
    (590, 112, 3, 20, "layer2", "64 × 20 × 20"),
    (762, 92, 5, 10, "layer3", "128 × 10 × 10"),
    (930, 66, 9, 5, "layer4", "256 × 5 × 5"),
)
LITE0 = (
    (405, 104, 4, 10, "block 8", "80 × 10 × 10"),
    (590, 98, 5, 10, "block 11", "112 × 10 × 10"),
    (762, 74, 7, 5, "block 15", "192 × 5 × 5"),
    (930, 66, 12, 5, "head", "1280 × 5 × 5"),
)


def draw_encoder() -> DrawnFigure:
    """Two networks side by side, GeM pooling, one linear layer, L2 norm, local centering."""
    figure, axes = canvas(1830, 800)
    picture(axes, photo("chelsea.png"), 36, MIDDLE - 110, 220)
    label(axes, 146, MIDDLE + 156, "picture", "3 × 160 × 160")
    network(axes, SLIM, TOP, "slim14, trained here on copies: 2.7 million parameters")
    network(axes, LITE0, BOTTOM, "EfficientNet-Lite0, as ImageNet has trained it: 3.4 million")
    arrow(axes, (1000, TOP), (1086, TOP))
    collect = BOTTOM + 166  # the maps of all four depths are pooled
    for x, *_ in LITE0:
        axes.plot((x, x), (BOTTOM + 146, collect), color=FAINT, lw=2)
    axes.plot((LITE0[0][0], 1016, 1016), (collect, collect, BOTTOM), color=FAINT, lw=2)
    arrow(axes, (1000, BOTTOM), (1086, BOTTOM))
    vector(axes, 1094, TOP - 60, 30, 120, seed=3, cells=10)
    label(axes, 1109, TOP + 104, "GeM pooling", "256")
    vector(axes, 1094, BOTTOM - 110, 30, 220, seed=5)
    label(axes, 1109, BOTTOM + 154, "GeM pooling", "1664")
    fan(axes, (1126, 1306), (TOP - 56, TOP + 56), (MIDDLE - 106, MIDDLE + 106))
    fan(axes, (1126, 1306), (BOTTOM - 106, BOTTOM + 106), (MIDDLE - 106, MIDDLE + 106))
    vector(axes, 1308, MIDDLE - 110, 30, 220, seed=8)
    label(axes, 1323, MIDDLE + 156, "linear", "256, a constant", "among them")
    arrow(axes, (1348, MIDDLE), (1398, MIDDLE))
    sphere(axes, 1484, MIDDLE, 78, (38, 56, 118))
    label(axes, 1484, MIDDLE + 156, "L2 norm", "256, length 1")
    arrow(axes, (1570, MIDDLE), (1612, MIDDLE))
    sphere(axes, 1698, MIDDLE, 78, (38, 56, 165))
    label(axes, 1698, MIDDLE + 156, "local centering", "less half of what the", "nearest photos share")
    write(axes, 1698, MIDDLE - 150, "copies near,", 22, BLUE)
    write(axes, 1698, MIDDLE - 120, "others far", 22, VERMILION)
    return figure


def network(axes, volumes, y, title) -> None:
    """The maps of a network, from left to right; its classifier is left out."""
    before = 268
    arrow(axes, (before, MIDDLE), (312, y))
    before = 312
    for level, (x, side, sheets, cells, name, shape) in enumerate(volumes):
        left, right = stack(axes, x, y, side, sheets, cells, BLUES[level])
        if level:
            arrow(axes, (before + 8, y), (left - 6, y))
        label(axes, x, y + 104, name, shape)
        before = right
    bracket(axes, 324, before, y - 96, title)


def label(axes, x, y, name, *lines) -> None:
    write(axes, x, y, name, 24, weight="bold")
    for row, line in enumerate(lines):
        write(axes, x, y + 30 + 26 * row, line, 20, GREY)


def stack(axes, x, y, side, sheets, cells, color, line="white") -> tuple[float, float]:
    """Feature maps around (x, y): squares one behind the other, the first with its cells. Returns left and right."""
    step = 7
    left, top = x - side / 2 - step * (sheets - 1) / 2, y - side / 2 + step * (sheets - 1) / 2
    for i in reversed(range(sheets)):
        corner = (left + step * i, top - step * i)
        axes.add_patch(Rectangle(corner, side, side, fc=color, ec=line, lw=1.6, zorder=3 - i / 100))
    for share in np.arange(1, cells) / cells:
        grid = {"color": line, "lw": 0.5, "alpha": 0.75, "zorder": 3.1}
        axes.plot((left + share * side,) * 2, (top, top + side), **grid)
        axes.plot((left, left + side), (top + share * side,) * 2, **grid)
    return left, left + side + step * (sheets - 1)


def bracket(axes, left, right, y, text) -> None:
    axes.plot((left, left, right, right), (y, y - 16, y - 16, y), color=FAINT, lw=2)
    write(axes, (left + right) / 2, y - 34, text, 24, GREY)


def fan(axes, xs: Sequence[float], starts: Sequence[float], ends: Sequence[float]) -> None:
    """Every number with every number, as a linear layer has it."""
    for start in np.linspace(*starts, 7):
        for end in np.linspace(*ends, 9):
            axes.plot(xs, (start, end), color=BLUE, lw=0.6, alpha=0.25, zorder=2)


def sphere(axes, x, y, radius, angles: Sequence[float]) -> None:
    """The unit sphere, with two vectors of copies and one of another picture, at angles in degrees."""
    axes.add_patch(Circle((x, y), radius, fc="white", ec=BLUE, lw=2.2, zorder=3))
    axes.add_patch(Ellipse((x, y), 2 * radius, 0.55 * radius, fill=False, ec=FAINT, lw=1.2, ls=(0, (4, 3)), zorder=3.1))
    for degrees, color in zip(angles, (BLUE, BLUE, VERMILION), strict=True):
        angle = np.radians(degrees)
        tip = (x + 0.94 * radius * np.cos(angle), y - 0.94 * radius * np.sin(angle))
        arrow(axes, (x, y), tip, color, 2.4, mutation_scale=16)
    axes.add_patch(Circle((x, y), 4, fc=INK, lw=0, zorder=6))


if __name__ == "__main__":
    (ASSETS / "encoder.png").write_bytes(draw_encoder().png())
