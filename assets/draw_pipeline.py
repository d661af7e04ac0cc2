"""Draw assets/pipeline.png: `python assets/draw_pipeline.py`. The photos come with scikit-image."""

from __future__ import annotations

import numpy as np
from drawing import (
    ASSETS,
    BLUE,
    BLUES,
    FAINT,
    GREEN,
    GREY,
    LIGHT,
    PAGE,
    VERMILION,
    DrawnFigure,
    arrow,
    canvas,
    photo,
    picture,
    vector,
    write,
)
from matplotlib.patches import Ellipse, FancyBboxPatch, Polygon, Rectangle

CARD, TALL, ACROSS, DOWN = 384, 300, 448, 368


# What each card is called, and the room and name that do it.
STEPS = (
    ("folder", "dataset.list_images", "paths, sorted"),
    ("squares", "dataset.ImagesDataset", "3 × 160 × 160"),
    ("encoder", "encoder.EncoderCNN", "unit vectors, n × 256"),
    ("neighbours", "matching.radius_neighbors_graph", "distance ≤ epsilon, sparse"),
    ("geometry", "matching.Verifier", "what each shows of the other"),
    ("DBSCAN", "clustering.cluster_labels", "groups of what is connected"),
    ("clusters", "clustering.build_clusters", "the keeper and its copies"),
)
ENDS = (
    ("report", "report.plot_cluster_grid", "pages to look at"),
    ("trash", "deletion.apply_plan", "undo brings it back"),
)


def draw_pipeline() -> DrawnFigure:
    """From a folder to clusters, and on to what is looked at and what goes."""
    figure, axes = canvas(1800, 756)
    icons = folder_icon, dataset_icon, encoder_icon, neighbors_icon, geometry_icon, dbscan_icon, clusters_icon
    corners = [(36 + ACROSS * (i % 4), 44 + DOWN * (i // 4)) for i in range(8)]
    for (x, y), icon, texts in zip(corners, icons, STEPS, strict=False):
        card(axes, x, y, CARD, TALL)
        icon(axes, x + CARD / 2, y + 100)
        describe(axes, x + CARD / 2, y + 214, *texts)
    for (x, y), after in zip(corners[:6], corners[1:7], strict=True):
        if after[1] == y:
            arrow(axes, (x + CARD + 8, y + TALL / 2), (after[0] - 8, y + TALL / 2), width=3, mutation_scale=26)
    turn(axes, corners[3], corners[4])
    ends(axes, corners[6], corners[7])
    return figure


def card(axes, x, y, width, height) -> None:
    box = FancyBboxPatch(
        (x + 12, y + 12), width - 24, height - 24, boxstyle="round,pad=12", fc="white", ec=LIGHT, lw=1.6
    )
    axes.add_patch(box)


def describe(axes, x, y, title, name, text) -> None:
    write(axes, x, y, title, 29, weight="bold")
    write(axes, x, y + 33, name, 18, BLUE, family="DejaVu Sans Mono")
    write(axes, x, y + 64, text, 21, GREY)


def turn(axes, last, first) -> None:
    """From the end of the upper row to the start of the lower one."""
    right, left, between = last[0] + CARD / 2, first[0] + CARD / 2, (last[1] + TALL + first[1]) / 2
    axes.plot(
        (right, right, left),
        (last[1] + TALL + 6, between, between),
        color=GREY,
        lw=3,
        solid_joinstyle="round",
        solid_capstyle="projecting",
    )
    arrow(axes, (left, between + 2), (left, first[1] - 4), width=3, mutation_scale=26)


def ends(axes, clusters, place) -> None:
    """The two last steps, one above the other."""
    half = (TALL - 20) / 2
    for i, (icon, (title, name, text)) in enumerate(zip((report_icon, trash_icon), ENDS, strict=True)):
        x, y = place[0], place[1] + i * (half + 20)
        card(axes, x, y, CARD, half)
        icon(axes, x + 72, y + half / 2)
        write(axes, x + 138, y + 54, title, 29, weight="bold", ha="left")
        write(axes, x + 138, y + 84, name, 16, BLUE, ha="left", family="DejaVu Sans Mono")
        write(axes, x + 138, y + 113, text, 21, GREY, ha="left")
        start = (clusters[0] + CARD + 8, clusters[1] + TALL / 2)
        arrow(axes, start, (x - 8, y + half / 2), width=3, mutation_scale=26, connectionstyle="arc3")


CAT, FACE = "chelsea.png", (0.2, 0.05, 0.85, 0.85)
OTHERS = ("coffee.png", "astronaut.png", "rocket.jpg")


def folder_icon(axes, x, y) -> None:
    picture(axes, photo("coffee.png"), x - 74, y - 74, 84, line=3, zorder=2.2)
    picture(axes, photo(CAT), x - 6, y - 62, 84, line=3, zorder=2.4)
    back = [(x - 96, y - 34), (x - 96, y + 66), (x + 96, y + 66), (x + 96, y - 50), (x - 4, y - 50), (x - 22, y - 66)]
    axes.add_patch(Polygon([*back, (x - 96, y - 66)], fc="#E2B35B", ec="none", zorder=2))
    front = FancyBboxPatch((x - 92, y - 4), 184, 66, boxstyle="round,pad=6", fc="#F0C777", ec="none", zorder=3)
    axes.add_patch(front)


def dataset_icon(axes, x, y) -> None:
    for i, name in enumerate((*OTHERS[::-1], CAT)):
        shift = 30 * (3 - i)
        picture(axes, photo(name), x - 94 + shift, y - 24 - shift * 0.5, 98, line=3, zorder=2 + i / 10)


def encoder_icon(axes, x, y) -> None:
    picture(axes, photo(CAT), x - 136, y - 48, 96)
    axes.add_patch(
        Polygon([(x - 26, y - 58), (x - 26, y + 58), (x + 68, y + 26), (x + 68, y - 26)], fc=BLUES[2], ec=BLUE)
    )
    vector(axes, x + 98, y - 60, 24, 120, seed=3, cells=14)
    arrow(axes, (x + 72, y), (x + 94, y), BLUE)


def points() -> tuple[np.ndarray, np.ndarray]:
    """Three groups of points and some alone, around (0, 0); -1 = alone."""
    near = [(-100, -34), (-66, -52), (-74, -12), (12, 30), (44, 44), (34, 8), (66, 20), (80, -48), (112, -34)]
    alone = [(-108, 48), (-44, 50), (0, -46), (122, 52)]
    return np.array([*near, *alone], float), np.array([0] * 3 + [1] * 4 + [2] * 2 + [-1] * 4)


def neighbors_icon(axes, x, y) -> None:
    places, groups = points()
    places = places + (x, y)
    for i in range(len(places)):
        for j in range(i):
            if groups[i] == groups[j] >= 0 or {i, j} == {2, 10}:
                axes.plot(*places[[i, j]].T, color=BLUE, lw=2, alpha=0.55, zorder=2)
    axes.scatter(*places.T, s=90, c=BLUE, edgecolors="white", linewidths=1.5, zorder=3)


def dbscan_icon(axes, x, y) -> None:
    places, groups = points()
    places = places + (x, y)
    hulls = ((-80, -33, 84, 84, 0), (40, 26, 112, 78, 0), (96, -41, 78, 50, 20))
    for (dx, dy, width, height, angle), color in zip(hulls, (BLUE, VERMILION, GREEN), strict=True):
        axes.add_patch(Ellipse((x + dx, y + dy), width, height, angle=angle, fc=color, ec=color, alpha=0.16, lw=2))
    colors = [(BLUE, VERMILION, GREEN, FAINT)[group] for group in groups]
    axes.scatter(*places.T, s=90, c=colors, edgecolors="white", linewidths=1.5, zorder=3)


def geometry_icon(axes, x, y) -> None:
    left, right, side = (x - 148, y - 66), (x + 44, y - 50), 132
    picture(axes, photo(CAT), *left, side)
    picture(axes, photo(CAT, FACE), *right, 100)
    box = np.array(FACE) * side
    frame = Rectangle(
        (left[0] + box[0], left[1] + box[1]), box[2] - box[0], box[3] - box[1], fill=False, ec="white", lw=2.2
    )
    frame.set_zorder(5)
    axes.add_patch(frame)
    for u, v in ((0.37, 0.36), (0.63, 0.43), (0.47, 0.62)):
        inner = ((u - FACE[0]) / (FACE[2] - FACE[0]), (v - FACE[1]) / (FACE[3] - FACE[1]))
        ends = ((left[0] + u * side, right[0] + inner[0] * 100), (left[1] + v * side, right[1] + inner[1] * 100))
        axes.plot(*ends, color="#F0B429", lw=2, marker="o", ms=6, mec="white", zorder=6)


def clusters_icon(axes, x, y) -> None:
    picture(axes, photo(CAT), x - 142, y - 70, 116, frame=BLUE, line=5)
    picture(axes, photo(CAT), x + 2, y - 14, 60, frame=LIGHT)
    picture(axes, photo(CAT, FACE), x + 82, y - 14, 60, frame=LIGHT)
    for center, word, color in ((-84, "stays", BLUE), (32, "goes", VERMILION), (112, "goes", VERMILION)):
        write(axes, x + center, y + 72, word, 19, color, weight="bold")


def report_icon(axes, x, y) -> None:
    axes.add_patch(Rectangle((x - 42, y - 52), 84, 104, fc=PAGE, ec=GREY, lw=2, zorder=2))
    for row, name in enumerate((CAT, *OTHERS[:2])):
        for column in range(3 - (row == 1)):
            first = {"frame": BLUE, "line": 2.4} if column == 0 else {"frame": "white", "line": 0.5}
            picture(axes, photo(name, side=64), x - 35 + 25 * column, y - 44 + 31 * row, 20, **first)
            axes.add_patch(Rectangle((x - 35 + 25 * column, y - 21 + 31 * row), 14, 2.5, fc=FAINT, lw=0, zorder=3))


def trash_icon(axes, x, y) -> None:
    picture(axes, photo(CAT, FACE, side=96), x - 17, y - 54, 40, zorder=2)
    axes.add_patch(
        Polygon([(x - 34, y - 18), (x + 34, y - 18), (x + 26, y + 52), (x - 26, y + 52)], fc="#8894A1", zorder=3)
    )
    axes.add_patch(Rectangle((x - 40, y - 26), 80, 9, fc=GREY, lw=0, zorder=3))
    for dx in (-13, 0, 13):
        axes.plot(
            (x + dx, x + dx * 0.8), (y - 6, y + 40), color="white", lw=3, alpha=0.8, zorder=4, solid_capstyle="round"
        )


if __name__ == "__main__":
    (ASSETS / "pipeline.png").write_bytes(draw_pipeline().png(str((*STEPS, *ENDS))))
