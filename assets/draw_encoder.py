"""Draw assets/encoder.png: `python assets/draw_encoder.py`. The photo comes with scikit-image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from drawing import (
    ASSETS,
    BLUE,
    BLUES,
    FAINT,
    FAINT_TEXT,
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


def draw_encoder() -> DrawnFigure:
    """A slim ResNet, GeM pooling, linear layer, L2 norm; below, in grey, what is dropped."""
    figure, axes = canvas(1800, 750)
    middle, words = 252, 437
    picture(axes, photo("chelsea.png"), 36, middle - 120, 240)
    label(axes, 156, words, "picture", "3 × 160 × 160")
    volumes = (
        (393, 150, 2, 40, "conv1", "32 × 40 × 40"),
        (586, 150, 2, 40, "layer1", "32 × 40 × 40"),
        (772, 124, 3, 20, "layer2", "64 × 20 × 20"),
        (940, 94, 5, 10, "layer3", "128 × 10 × 10"),
        (1106, 66, 9, 5, "layer4", "256 × 5 × 5"),
    )
    before = 276
    for level, (x, side, sheets, cells, name, shape) in enumerate(volumes):
        left, right = stack(axes, x, middle, side, sheets, cells, BLUES[max(level - 1, 0)])
        arrow(axes, (before + 10, middle), (left - 8, middle))
        label(axes, x, words, name, shape)
        before = right
    bracket(axes, 316, before, 96, "slim ResNet without its end: 2.7 million parameters")
    arrow(axes, (before + 10, middle), (1264, middle))
    vector(axes, 1272, middle - 120, 30, 240, seed=3)
    label(axes, 1287, words, "GeM pooling", "256")
    fan(axes, (1304, 1453), (middle - 116, middle + 116))
    vector(axes, 1455, middle - 120, 30, 240, seed=8)
    label(axes, 1470, words, "linear", "256")
    arrow(axes, (1495, middle), (1560, middle))
    sphere(axes, 1664, middle, 92)
    label(axes, 1664, words, "L2 norm", "256, length 1")
    write(axes, 1664, words + 76, "copies near,", 22, BLUE)
    write(axes, 1664, words + 106, "others far", 22, VERMILION)
    dropped(axes, 1106, 582)
    write(axes, 36, 618, "cells: as many as the map has positions", 20, GREY, ha="left")
    write(axes, 36, 648, "sheets: the more, the more channels", 20, GREY, ha="left")
    return figure


def label(axes, x, y, name, shape, color=INK) -> None:
    write(axes, x, y, name, 25, color, weight="bold")
    write(axes, x, y + 34, shape, 22, GREY if color == INK else color)


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


def fan(axes, xs: Sequence[float], ys: Sequence[float]) -> None:
    """Every number with every number, as a linear layer has it."""
    ends = np.linspace(*ys, 9)
    for start in ends:
        for end in ends:
            axes.plot(xs, (start, end), color=BLUE, lw=0.7, alpha=0.3, zorder=2)


def sphere(axes, x, y, radius) -> None:
    """The unit sphere, with two vectors that are near each other and one that is not."""
    axes.add_patch(Circle((x, y), radius, fc="white", ec=BLUE, lw=2.2, zorder=3))
    axes.add_patch(Ellipse((x, y), 2 * radius, 0.55 * radius, fill=False, ec=FAINT, lw=1.2, ls=(0, (4, 3)), zorder=3.1))
    for degrees, color in ((38, BLUE), (56, BLUE), (165, VERMILION)):
        angle = np.radians(degrees)
        tip = (x + 0.94 * radius * np.cos(angle), y - 0.94 * radius * np.sin(angle))
        arrow(axes, (x, y), tip, color, 2.4, mutation_scale=16)
    axes.add_patch(Circle((x, y), 4, fc=INK, lw=0, zorder=6))


def dropped(axes, x, y) -> None:
    """The classification layer: a branch that is not taken."""
    axes.plot((x, x), (492, y), color=FAINT, lw=2.2, ls=(0, (4, 3)))
    arrow(axes, (x, y), (1270, y), FAINT, ls=(0, (4, 3)))
    vector(axes, 1279, y - 62, 26, 124, seed=5, cells=14, color="#98A2AE")
    label(axes, 1292, y + 98, "classification", "1000 classes", FAINT_TEXT)
    for sign in (-1, 1):
        axes.plot((1234, 1350), (y - sign * 58, y + sign * 58), color=VERMILION, lw=2.6, zorder=6)
    write(axes, x - 34, y + 36, "dropped", 25, VERMILION, weight="bold", ha="right")
    write(axes, x - 34, y + 66, "it tells classes apart, not copies", 20, GREY, ha="right")


if __name__ == "__main__":
    (ASSETS / "encoder.png").write_bytes(draw_encoder().png())
