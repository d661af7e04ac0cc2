"""Distances and measurements to look at: neighbours, keypoints, calibration, precision, recall by edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from dedup.report.canvas import BLUE, GREY, INK, LIGHT, VERMILION, as_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dedup.evaluation.calibration import Calibration
    from dedup.matching.confirmation import Comparison

DPI = 100
APART = 12  # px of white between two pictures
PALETTE = (BLUE, "#e69f00", "#009e73", "#cc79a7", "#999999", "#56b4e9", "#b0a000", "#7f4f24")  # after Okabe and Ito

DASHED = (0, (5, 2))  # px of line and of gap
ABOVE = {"frameon": False, "labelcolor": INK, "loc": "lower center", "bbox_to_anchor": (0.5, 1)}  # of the axes


class DrawnFigure(Figure):
    """A Figure with plain axes, which a notebook shows by itself; its PNG is the same byte for byte each time."""

    def __init__(self, width: float, height: float, facecolor: str = "white", layout: str = "constrained"):
        super().__init__(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=facecolor, layout=layout)
        FigureCanvasAgg(self)

    def add_subplot(self, *args, **kwargs) -> Axes:
        axes = super().add_subplot(*args, **kwargs)
        axes.set_prop_cycle(color=(BLUE, VERMILION, GREY))
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(LIGHT)
        axes.tick_params(colors=GREY, length=0)
        axes.xaxis.label.set_color(INK)
        axes.yaxis.label.set_color(INK)
        axes.grid(axis="y", color=LIGHT, lw=0.6)
        axes.set_axisbelow(True)
        return axes

    def png(self, mark: str = "") -> bytes:
        """The figure as PNG, without dates and names of programs; `mark` is a text that is stored in the file."""
        self.canvas.draw()
        return as_png(Image.fromarray(np.asarray(self.canvas.buffer_rgba())[..., :3]), mark)

    def _repr_png_(self) -> bytes:
        return self.png()


def plot_k_distances(vectors: np.ndarray, epsilon: float) -> Figure:
    """Draw the sorted distances to the nearest neighbour, and epsilon as a line (Ester et al., 1996, section 4.2).

    Files under the line get into a cluster; a good epsilon lies on a steep part, where few distances are.
    vectors : (n, d) float32, unit norm
    """
    from sklearn.neighbors import NearestNeighbors

    found = np.zeros(0)
    if len(vectors) > 1:
        found = np.sort(NearestNeighbors(n_neighbors=1, metric="cosine").fit(vectors).kneighbors()[0].ravel())
    inside = int((found <= epsilon).sum())
    figure, axes = _axes("pictures, by distance", "cosine distance to the nearest neighbour")
    positions = np.arange(1, len(found) + 1)
    axes.plot(positions, found, color=BLUE, lw=2, zorder=3)
    axes.fill_between(positions[:inside], found[:inside], color=BLUE, alpha=0.15, lw=0)
    axes.axhline(epsilon, color=VERMILION, lw=1.5, ls=DASHED)
    axes.set_xlim(0, max(len(found), 1))
    axes.set_ylim(0, 1.15 * max(epsilon, found.max(initial=0.0)) or 1)
    text = f"{inside:,} of {len(vectors):,} pictures have a neighbour within epsilon {epsilon:.3g}"
    axes.set_title(text, loc="left", color=VERMILION, fontsize=10)
    return figure


def plot_distance_histogram(copies: np.ndarray, others: np.ndarray, epsilon: float | None = None) -> Figure:
    """Draw histograms of the distances of copies and of different pictures, each as shares of its pairs.

    Parameters
    ----------
    copies, others : cosine distances of pairs of copies, and of pairs of different pictures; any length
    epsilon : drawn as a line, with the share of each that lies within it

    Raises
    ------
    ValueError : there is no pair at all
    """
    groups = [("copies", np.asarray(copies, float), BLUE), ("different pictures", np.asarray(others, float), VERMILION)]
    groups = [group for group in groups if len(group[1])]
    if not groups:
        raise ValueError("there is no pair to draw: copies and others are both empty")
    edges = np.linspace(0, max(distances.max() for _, distances, _ in groups) or 1, 51)
    figure, axes = _axes("cosine distance", "share of the pairs")
    for name, distances, color in groups:
        share = np.histogram(distances, edges)[0] / len(distances)
        axes.stairs(share, edges, color=color, alpha=0.25, fill=True)
        axes.stairs(share, edges, color=color, lw=1.6, label=f"{len(distances):,} pairs of {name}")
    axes.yaxis.set_major_formatter(_percent)
    axes.set_xlim(edges[0], edges[-1])
    axes.margins(y=0.3)  # room for the text
    if epsilon is not None:
        within = ",\n".join(f"{100 * (distances <= epsilon).mean():.3g} % of {name}" for name, distances, _ in groups)
        axes.axvline(epsilon, color=INK, lw=1.5, ls=DASHED)
        text = f"within epsilon {epsilon:.3g}:\n{within}"
        side = {"xytext": (6, 0)} if epsilon < edges[-1] / 2 else {"xytext": (-6, 0), "ha": "right"}
        place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "va": "top", **side}
        axes.annotate(text, (epsilon, 0.97), color=INK, bbox={"fc": "white", "ec": "none", "pad": 1}, **place)
    axes.legend(**ABOVE, ncols=2)
    return figure


def plot_comparison(comparison: Comparison) -> Figure:
    """Draw how two pictures were compared: keypoints, both in one frame, where they agree, and the verdict.

    Lines join keypoints that look alike: blue where one transform fits them. Below: the picture that gives the frame,
    the other laid on it, both as red and cyan, grey where they are equal, and fine detail: blue where it agrees, red
    where it does not, grey where there is none.
    """
    frame, overlay, match = comparison.frame, comparison.overlay, comparison.match
    figure = DrawnFigure(800, 640)
    axes = figure.subplot_mosaic([["lines"] * 4, ["base", "other", "both", "agreement"]], height_ratios=[1.7, 1])
    for each in axes.values():
        each.set_axis_off()
    _draw_lines(axes["lines"], comparison)
    axes["base"].imshow(frame.base, cmap="gray", vmin=0, vmax=255)
    axes["other"].imshow(frame.other, cmap="gray", vmin=0, vmax=255)
    axes["both"].imshow(np.dstack([frame.base, frame.other, frame.other]))
    axes["agreement"].imshow(comparison.likeness, cmap=colormaps["RdBu"].with_extremes(bad=LIGHT), vmin=0, vmax=1)
    base, other = ("left", "right") if frame.base_is_first else ("right", "left")
    titles = {"base": f"the {base} one", "other": f"the {other} one on it", "both": "both", "agreement": "agreement"}
    for name, title in titles.items():
        axes[name].set_title(title, fontsize=10, color=INK)
    numbers = f"{overlay.agreement:.0%} of the blocks agree, fine detail correlates to {overlay.detail:.2f}"
    figure.suptitle(f"{match.kind if match else 'refused'}: {numbers}", fontsize=11, color=INK)
    return figure


def _draw_lines(axes: Axes, comparison: Comparison) -> None:
    """Two pictures side by side, and lines between keypoints that look alike."""
    first, second = (picture.grey for picture in comparison.pictures)
    left = first.shape[1] + APART
    starts = comparison.points * first.shape[::-1]  # (k, 2) px
    ends = comparison.others * second.shape[::-1] + (left, 0)
    for grey, start in ((first, 0), (second, left)):
        height, width = grey.shape
        axes.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=(start, start + width, height, 0))
    axes.set_xlim(0, left + second.shape[1])
    axes.set_ylim(max(len(first), len(second)), 0)
    for start, end, fits in zip(starts, ends, comparison.fits, strict=True):
        axes.plot(*zip(start, end, strict=True), color=BLUE if fits else VERMILION, lw=0.5)
    axes.set_title(f"{comparison.fits.sum()} of {len(starts)} lines fit one transform", fontsize=10, color=INK)


def plot_calibration(calibration: Calibration) -> Figure:
    """Draw the precision and recall that a calibration expects within each distance, and its epsilon as a line."""
    figure, axes = _axes("cosine distance", "share, before confirmation")
    for name, share, color in (
        ("precision of the pairs within", calibration.precision, BLUE),
        ("recall of the made copies", calibration.recall, VERMILION),
    ):
        axes.plot(calibration.thresholds, share, color=color, lw=2, label=name)
    axes.axvline(calibration.epsilon, color=INK, lw=1.5, ls=DASHED)
    place = {"xytext": (6, 0), "textcoords": "offset points", "xycoords": ("data", "axes fraction"), "va": "bottom"}
    axes.annotate(f"epsilon {calibration.epsilon:.3g}", (calibration.epsilon, 0.02), color=INK, **place)
    axes.set_xlim(0, calibration.thresholds[-1])
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(_percent)
    axes.legend(**ABOVE, ncols=2)
    return figure


def plot_pair_curves(
    curves: Mapping[str, Sequence[Sequence[float]]], points: Mapping[str, Sequence[float]] | None = None
) -> Figure:
    """Draw precision over recall of all pairs.

    curves : by name, (recall, precision) of rising distances; the first is drawn strongest
    points : by name, recall and precision of groupings that have no curve
    """
    figure, axes = _axes("recall of the pairs of copies", "precision")
    for rank, (name, (recall, precision)) in enumerate(curves.items()):
        color, width = (BLUE, 2.4) if rank == 0 else (PALETTE[rank % len(PALETTE)], 1.4)
        axes.plot(recall, precision, color=color, lw=width, label=name, zorder=4 if rank == 0 else 3)
    for name, (recall, precision) in (points or {}).items():
        axes.plot(recall, precision, "o", color=VERMILION, ms=7, label=name, zorder=5, clip_on=False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(_percent)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False, labelcolor=INK, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def plot_recall_by_edit(recalls: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw which share of the copies of each edit was found, by name of the finder; the first is drawn strongest."""
    edits = sorted(next(iter(recalls.values())), key=lambda edit: [-found.get(edit, 0) for found in recalls.values()])
    figure, axes = _axes("", "copies grouped with their original", width=1000)
    for rank, (name, found) in enumerate(recalls.items()):
        style = {"color": BLUE, "ms": 11} if rank == 0 else {"color": PALETTE[rank % len(PALETTE)], "ms": 5}
        axes.plot(range(len(edits)), [found.get(edit, 0) for edit in edits], "o", label=name, clip_on=False, **style)
    axes.set_xticks(range(len(edits)), [edit.replace("_", " ") for edit in edits], rotation=60, ha="right")
    axes.yaxis.set_major_formatter(_percent)
    axes.set_ylim(0, 1.02)
    axes.legend(**ABOVE, ncols=4)
    return figure


def _axes(x_label: str, y_label: str, width: int = 800):
    """A figure with one plain pair of axes."""
    figure = DrawnFigure(width, 400)
    return figure, figure.add_subplot(xlabel=x_label, ylabel=y_label)


def _percent(share: float, _: int) -> str:
    return f"{100 * share:.0f} %"
