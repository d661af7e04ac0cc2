"""Pages of pictures. Input: clusters. Output: a page with a row for each; or any pictures, as notebooks show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from dedup.dataset.decoding import UnreadableImage, load_image
from dedup.matching.kinds import MatchKind
from dedup.output import count_of, format_bytes, relative_path
from dedup.report.canvas import BLUE, CELL, GREY, INK, LIGHT, PAGE, SKY, VERMILION, Canvas
from dedup.report.lettering import drawable, shorten, text_width, wrap

if TYPE_CHECKING:
    from dedup.clustering.clusters import Cluster, Member

SIDE, GAP, MARGIN, HEADER = 184, 16, 24, 40  # pixels, as all lengths below
ROW_LENGTH, FEWEST_COLUMNS, HIGHEST = 8, 4, 60_000
LINE, CAPTION, SMALL = 17, 12.5, 11


class Strip(NamedTuple):
    """One drawn row: some members of a cluster, side by side."""

    cluster: Cluster
    members: tuple[Member, ...]
    captions: list[list[tuple]]
    is_first: bool
    left_out: int
    height: int


def plot_cluster_grid(
    clusters: Sequence[Cluster],
    images_dir: Path,
    max_members: int = 40,
    note: str = "",
    thumbnails: Mapping[Path, Path] = MappingProxyType({}),
) -> Canvas:
    """Draw the clusters below each other, each as a row of pictures that wraps after eight.

    The keeper comes first, in a blue frame; the best file of every other version is in a light blue one, and what would
    go for it follows it. A thin red frame on the keeper shows what a crop shows of it, and one on a picture that
    contains the keeper where that is. Under a picture stand:
    - its name and folder, its size in pixels and bytes;
    - what becomes of it, and why it stays;
    - the kind of its match with the file that it would go for, or what was done to that file;
    - the cosine distance to that file, and the share of the picture that it shows, unless it shows all.

    Parameters
    ----------
    max_members : pictures drawn of one cluster, at least 1; its heading says how many more there are
    note : a line at the foot
    thumbnails : smaller copies, by path, which are drawn in place of the files

    Returns
    -------
    Canvas : its width follows the largest cluster, 4 to 8 pictures. A file that can't be read has a placeholder.

    Raises
    ------
    ValueError : max_members below 1, or more clusters than fit into one picture
    """
    if max_members < 1:
        raise ValueError(f"max_members is the number of pictures drawn of a cluster, at least 1, got {max_members}")
    strips = [strip for cluster in clusters for strip in layout(cluster, images_dir, max_members)]
    columns = max([FEWEST_COLUMNS, *(len(strip.members) for strip in strips)])
    width = 2 * MARGIN + columns * (SIDE + GAP) - GAP
    height = max(sum(strip.height for strip in strips), HEADER) + MARGIN + (LINE + GAP if note else 0)
    if height > HIGHEST:
        raise ValueError(f"{count_of(len(clusters), 'cluster')} do not fit into one picture; draw a part of them")
    page = Canvas(width, height, PAGE)
    top = 0
    for strip in strips:
        _draw_strip(page, strip, top, thumbnails)
        top += strip.height
    if note or not strips:
        page.write(MARGIN, height - GAP, note or "No clusters", SMALL, GREY)
    return page


def layout(cluster: Cluster, images_dir: Path, max_members: int = 40) -> list[Strip]:
    """The rows that a cluster is drawn in."""
    everyone = (cluster.keeper, *cluster.members)
    drawn = everyone[:max_members]
    with_folder = any(len(relative_path(member.path, images_dir).parts) > 1 for member in drawn)
    strips = []
    for start in range(0, len(drawn), ROW_LENGTH):
        row = drawn[start : start + ROW_LENGTH]
        captions = [_caption(member, images_dir, with_folder, cluster.why) for member in row]
        height = HEADER * (not start) + SIDE + 8 + LINE * max(map(len, captions)) + GAP
        strips.append(Strip(cluster, row, captions, not start, len(everyone) - len(drawn), height))
    return strips


def _draw_strip(page: Canvas, strip: Strip, top: int, thumbnails: Mapping[Path, Path]) -> None:
    if strip.is_first:
        _draw_heading(page, strip, top)
        top += HEADER
    for column, member in enumerate(strip.members):
        left = MARGIN + column * (SIDE + GAP)
        box = _draw_picture(page, member, left, top, thumbnails.get(member.path))
        _draw_frames(page, strip.cluster, member, box)
        if member is strip.cluster.keeper:
            page.frame(left, top, SIDE, SIDE, BLUE, 4)
        elif member.version > 1 and member is _best_of(strip.cluster, member.version):
            page.frame(left, top, SIDE, SIDE, SKY, 3)
        for row, (text, size, color, pill) in enumerate(strip.captions[column]):
            _draw_line(page, left, top + SIDE + 20 + row * LINE, text, size, color, pill)


def _best_of(cluster: Cluster, version: int) -> Member:
    """The best file of a version, which comes first."""
    return next(member for member in cluster.members if member.version == version)


def _draw_heading(page: Canvas, strip: Strip, top: int) -> None:
    members = strip.cluster.members
    going = [member.bytes for member in members if member.removable]
    versions = max(member.version for member in (strip.cluster.keeper, *members))
    parts = [count_of(len(members) + 1, "file") + (f" in {versions} versions" if versions > 1 else "")]
    parts += [f"{len(going)} can go, {format_bytes(sum(going))} freed" if going else "all stay"]
    parts += [f"{strip.left_out} more not shown"] if strip.left_out else []
    title = f"Cluster {strip.cluster.number}"
    if top:
        page.fill(MARGIN, top + 3, page.image.width - 2 * MARGIN, 1, LIGHT)
    page.write(MARGIN, top + HEADER - 11, title, 14, INK, bold=True)
    page.write(MARGIN + 1.12 * text_width(title, 14) + 10, top + HEADER - 11, "   ".join(parts), CAPTION, GREY)


def _caption(member: Member, images_dir: Path, with_folder: bool, why: str) -> list[tuple]:
    """The lines under a picture: (text, size, color, pill), where a pill is (word, color, filled) or None."""
    path = relative_path(member.path, images_dir)
    lines = [(shorten(drawable(path.name), CAPTION, SIDE), CAPTION, INK, None)]
    if with_folder:
        lines.append((shorten(drawable(path.parent.as_posix()) + "/", SMALL, SIDE), SMALL, GREY, None))
    lines.append((f"{member.width} × {member.height}   {format_bytes(member.bytes)}", SMALL, INK, None))
    if member.kind == "keeper":
        lines.append(("", SMALL, INK, ("keeper", BLUE, True)))
        return lines + [(line, SMALL, GREY, None) for line in wrap(drawable(why), SMALL, SIDE, 2)]
    pill = ("goes", VERMILION, True) if member.removable else ("stays", BLUE, False)
    words = (*([] if member.changes and member.kind == MatchKind.EDITED else [member.kind]), *member.changes)
    lines.append((", ".join(words).replace("_", " "), SMALL, INK, pill))
    shown = f"   {100 * member.coverage:.0f} % shown" if member.coverage < 0.995 else ""
    lines.append((f"distance {member.distance:.3f}{shown}", SMALL, GREY, None))
    return lines + [(line, SMALL, GREY, None) for line in wrap(drawable(str(member.reason or "")), SMALL, SIDE, 2)]


def _draw_line(
    page: Canvas, left: float, baseline: int, text: str, size: float, color: str, pill: tuple | None
) -> None:
    if pill:
        word, pill_color, is_filled = pill
        width = round(text_width(word, SMALL)) + 16
        page.pill(left, baseline - 12, width, 16, pill_color, is_filled)
        page.write(left + width / 2, baseline, word, SMALL, "white" if is_filled else pill_color, centred=True)
        left += width + 7
    page.write(left, baseline, text, size, color)


def _draw_frames(page: Canvas, cluster: Cluster, member: Member, box: tuple[int, ...] | None) -> None:
    """On the keeper, a frame around what each crop shows; on a picture that contains the keeper, one around that."""
    if box is None:
        return
    left, top, width, height = box
    for corners in insets(cluster, member):
        for color, thickness in (("white", 4.2), (VERMILION, 2)):  # seen on any picture
            page.outline(corners * (width, height) + (left, top), color, thickness)


def _draw_picture(page: Canvas, member: Member, left: int, top: int, thumbnail: Path | None) -> tuple[int, ...] | None:
    """Draw the picture, or a placeholder, in the middle of its square; returns the picture's place, or None."""
    picture = _fitted(member, thumbnail)
    box = _put(page, picture, left, top, SIDE)
    if picture is None:
        text = "can't be read" if member.path.exists() else "no longer there"
        page.write(left + SIDE / 2, top + SIDE / 2 + 4, text, SMALL, GREY, centred=True)
    return box


def _put(page: Canvas, picture: Image.Image | None, left: int, top: int, side: int) -> tuple[int, ...] | None:
    """Draw a square with a picture in its middle; returns the picture's left, top, width and height."""
    page.fill(left, top, side, side, CELL)
    if picture is None:
        return None
    x, y = left + (side - picture.width) // 2, top + (side - picture.height) // 2
    page.image.paste(picture, (x, y))
    return x, y, picture.width, picture.height


def _fitted(member: Member, thumbnail: Path | None) -> Image.Image | None:
    """The picture with its long side at SIDE, or None where it can't be read any more."""
    short, long = sorted((member.width, member.height))
    short_side = -(-SIDE * short // long) if short else SIDE
    for path in filter(None, (thumbnail, member.path)):
        with suppress(UnreadableImage, OSError):
            return _scaled(load_image(path, short_side), SIDE, Image.Resampling.LANCZOS, reducing_gap=3)
    return None


def _scaled(picture: Image.Image, side: int, *options: object, **named: object) -> Image.Image:
    """A picture with its long side at `side`; options as of Pillow's `resize`."""
    scale = side / max(picture.size)
    return picture.resize([max(1, round(scale * length)) for length in picture.size], *options, **named)


def insets(cluster: Cluster, member: Member) -> list[np.ndarray]:
    """The frames to draw on a picture: on the keeper one for each crop, on a picture that contains the keeper one.

    Returns list of (4, 2) float, corners in unit coordinates of the picture; what lies outside it is cut off
    """
    if member is cluster.keeper:
        crops = (other for other in cluster.members if other.kind == MatchKind.CROP and other.place)
        return [outline(np.reshape(crop.place, (3, 3))) for crop in crops]
    if member.kind == MatchKind.CONTAINS and member.place and member.coverage < 1:
        return [outline(np.linalg.inv(np.reshape(member.place, (3, 3))))]
    return []


def outline(transform: np.ndarray) -> np.ndarray:
    """The corners of the unit square, moved by a homography (3, 3) and cut off at the square's edges, (4, 2)."""
    corners = np.array([[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]]) @ transform.T  # (4, 3)
    return np.clip(corners[:, :2] / corners[:, 2:], 0, 1)


def plot_pictures(
    pictures: Sequence[Path | Image.Image | np.ndarray],
    captions: Sequence[str] = (),
    columns: int = 6,
    side: int = 140,
    frames: Sequence[str | None] = (),
) -> Canvas:
    """Draw pictures in rows, each fitted into a square of the same size.

    Parameters
    ----------
    pictures : files, images, (height, width, 3) uint8 arrays, or (height, width) maps, drawn from white (their
        smallest value) to dark blue (their largest)
    captions : the text under each, may have several lines; lines too long for the square lose their middle
    columns : pictures a row, at least 1
    side : of a square, in px
    frames : the colour of a frame around each, or None

    Raises
    ------
    ValueError : no pictures, or more captions or frames than pictures
    """
    if not len(pictures) or max(len(captions), len(frames)) > len(pictures):
        raise ValueError(f"got {len(pictures)} pictures, {len(captions)} captions, {len(frames)} frames")
    cells = list(zip_longest(pictures, captions, frames))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [
        side + GAP + LINE * max((caption or "").count("\n") + bool(caption) for _, caption, _ in row) for row in rows
    ]
    width, height = 2 * MARGIN + len(rows[0]) * (side + GAP) - GAP, MARGIN + sum(heights) + GAP // 2
    page = Canvas(width, height, PAGE)
    top = MARGIN
    for row, row_height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            _draw_cell(page, *cell, MARGIN + column * (side + GAP), top, side)
        top += row_height
    return page


def _draw_cell(page: Canvas, picture, caption: str | None, frame: str | None, left: int, top: int, side: int) -> None:
    """One picture in its square, with its caption below."""
    _put(page, _squared(picture, side), left, top, side)
    if frame:
        page.frame(left, top, side, side, frame, 4)
    for number, line in enumerate((caption or "").split("\n")):
        text = shorten(drawable(line), CAPTION, side + GAP / 2)
        page.write(left, top + side + LINE * (number + 1), text, CAPTION, GREY if number else INK)


def _squared(picture: Path | Image.Image | np.ndarray, side: int) -> Image.Image:
    """RGB, the longer side equal to `side`."""
    if isinstance(picture, Path):
        picture = load_image(picture)
    elif isinstance(picture, np.ndarray):
        picture = _coloured(picture)
    is_map = side > 4 * max(picture.size)  # its cells stay sharp
    return _scaled(picture.convert("RGB"), side, Image.Resampling.NEAREST if is_map else Image.Resampling.LANCZOS)


def _coloured(values: np.ndarray) -> Image.Image:
    """An array as an image; a map of one value a cell goes from white to dark blue."""
    if values.ndim == 2:
        from matplotlib import colormaps

        low, high = float(values.min()), float(values.max())
        values = (255 * colormaps["Blues"]((values - low) / ((high - low) or 1))[..., :3]).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(values))
