"""Report. Input: clusters. Output: pages of pictures and tables.

clusters  ->  output_dir/clusters_001.png, ..., output_dir/clusters.csv; pairs that are not copies  ->  similar.csv
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from dedup.output import Phases, count_of, escape, name_in, progress_bar, table_text, write_table, write_whole
from dedup.report.canvas import read_mark
from dedup.report.grid import layout, plot_cluster_grid
from dedup.store import code_digest
from dedup.workers import Losses, job, run_jobs

if TYPE_CHECKING:
    from dedup.clustering.clusters import Cluster, Member
    from dedup.clustering.result import Leak, Series
    from dedup.clustering.versions import KeeperKey

COLUMNS = "path cluster keep kind distance coverage width height bytes reason why version keeper".split()
PAGE_HEIGHT, PAGE_PICTURES = 2200, 32  # keeps a page of photos under 2 MB
MAX_PAGES = 20  # that are drawn; report.html and clusters.csv have all clusters
DRAWN_BY = ("dataset", "report")  # rooms whose source decides how a page looks
PAGE_TIME = 120.0  # seconds of computing for a page of large pictures
_PAGE_NAME = re.compile(r"clusters_\d{3,}\.png")
# KeeperKey in words
CRITERIA = ("preference", "detail", "enlarged", "folder", "compression", "holds", "age", "name", "path")


def write_report(
    clusters: Sequence[Cluster],
    images_dir: Path,
    output_dir: Path,
    progress: bool | Phases = True,
    contents: Mapping[Path, bytes] = MappingProxyType({}),
    num_workers: int = 0,
    thumbnails: Mapping[Path, Path] = MappingProxyType({}),
    losses: Losses | None = None,
) -> list[Path]:
    """Write the clusters as pages of pictures and as a table; the same clusters give the same bytes.

    Pages of an earlier run are removed, other files stay. Files are replaced whole, never half written.

    contents : digests of files; a page that shows the same as in an earlier run is left as it is
    num_workers : processes that draw; 0 = this one
    thumbnails : smaller copies, by path, which are drawn in place of the files
    losses : notes pages that could not be drawn, which are left out
    Returns the pages in order, then clusters.csv; `describe_report` describes them
    Raises OSError : output_dir can't be written
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    jobs, written, losses = [], [], Losses() if losses is None else losses
    pages = list(paginate(clusters, images_dir))
    for number, page in enumerate(pages[:MAX_PAGES], start=1):
        note = _left_out(pages, len(clusters)) if number == MAX_PAGES < len(pages) else ""
        paths = [member.path for cluster in page for member in (cluster.keeper, *cluster.members)]
        small = {path: thumbnails[path] for path in paths if path in thumbnails}
        shows = _what_is_shown(page, images_dir, note, [(contents.get(path), path in small) for path in paths])
        written.append(output_dir / f"clusters_{number:03d}.png")
        if not shows or read_mark(written[-1]) != shows:
            jobs.append((page, images_dir, note, shows, written[-1], small))
    drawn = run_jobs(_draw_page, jobs, num_workers, time_limit=PAGE_TIME)
    with progress_bar(progress, len(jobs), "Drawing", "pages") as bar:
        for (*_, path, _), found in zip(jobs, drawn, strict=True):
            bar.update()
            if png := losses.note(found, path):
                write_whole(path, png)
    written = [path for path in written if (path,) not in losses] + [output_dir / "clusters.csv"]
    write_whole(written[-1], clusters_table(clusters, images_dir).encode())
    for old in output_dir.iterdir():
        if _PAGE_NAME.fullmatch(old.name) and old not in written and old.is_file():
            old.unlink()
    return written


@job
def _draw_page(given: tuple[Sequence[Cluster], Path, str, str, Path, Mapping[Path, Path]]) -> bytes:
    page, images_dir, note, shows, _, thumbnails = given
    return plot_cluster_grid(page, images_dir, note=note, thumbnails=thumbnails).png(shows)


def _what_is_shown(
    page: Sequence[Cluster], images_dir: Path, note: str, held: Sequence[tuple[bytes | None, bool]]
) -> str:
    """Digest of all that a page is drawn from; empty if the content of a file is not known.

    held : of each file the content, and whether it is drawn from its thumbnail
    """
    is_known = all(content for content, _ in held)
    return code_digest(*DRAWN_BY, given=(page, str(images_dir), note, held)).hex() if is_known else ""


def write_similar(pairs: Iterable[tuple[Path, Path, float]], images_dir: Path, path: Path) -> None:
    """Write pairs of similar pictures that are not copies as CSV: both paths, and their cosine distance."""
    rows = ((*(name_in(each, images_dir) for each in pair), f"{distance:.4f}") for *pair, distance in pairs)
    write_table(path, ("path", "other", "distance"), rows)


def write_series(series: Sequence[Series], images_dir: Path, path: Path) -> None:
    """Write series of shots as CSV, a row a shot by capture time; `suggested` is 1 for the one that came out best."""
    rows = []
    for number, each in enumerate(series, start=1):
        for shot in each.shots:
            captured = datetime.fromtimestamp(shot.captured, UTC).replace(tzinfo=None).isoformat(" ", "milliseconds")
            best = int(shot.path == each.suggested)
            rows.append((name_in(shot.path, images_dir), number, captured, f"{shot.quality:.4f}", best))
    write_table(path, ("path", "series", "captured", "quality", "suggested"), rows)


def write_leaks(leaks: Iterable[Leak], images_dir: Path, path: Path) -> None:
    """Write the files that show what the archive has as CSV; `differ` is 1 if a twin has another label."""
    rows = (
        (name_in(leak.path, images_dir), leak.kind, name_in(leak.twin, images_dir), escape(leak.label),
         escape(leak.twin_label), int(leak.has_other_label))
        for leak in leaks
    )  # fmt: skip
    write_table(path, ("path", "kind", "twin", "label", "twin_label", "differ"), rows)


def describe_report(clusters: Sequence[Cluster], images_dir: Path, written: Sequence[Path]) -> Iterator[str]:
    """One or two lines for the user on what `write_report` wrote."""
    yield f"{count_of(len(written) - 1, 'page')} of pictures and clusters.csv in {written[-1].parent}"
    pages = list(paginate(clusters, images_dir))
    if len(pages) > MAX_PAGES:
        yield _left_out(pages, len(clusters))


def paginate(clusters: Sequence[Cluster], images_dir: Path) -> Iterator[list[Cluster]]:
    """Split the clusters into pages: as many as fit in height and in number of pictures, at least one."""
    page: list[Cluster] = []
    height = pictures = 0
    for cluster in clusters:
        strips = layout(cluster, images_dir)
        needed, shown = sum(strip.height for strip in strips), sum(len(strip.members) for strip in strips)
        if page and (height + needed > PAGE_HEIGHT or pictures + shown > PAGE_PICTURES):
            yield page
            page, height, pictures = [], 0, 0
        page.append(cluster)
        height, pictures = height + needed, pictures + shown
    if page:
        yield page


def clusters_table(clusters: Sequence[Cluster], images_dir: Path) -> str:
    """All clusters as CSV: a row a file, the keeper first in its cluster; `keep` is 1 if it stays, 0 if it goes.

    `version` numbers the versions of a cluster; `keeper` is the file that this one goes for, or would go for.
    `escape` says how odd names are written.
    """
    members = ((cluster, member) for cluster in clusters for member in (cluster.keeper, *cluster.members))
    return table_text(COLUMNS, (_row(cluster, member, images_dir) for cluster, member in members))


def keeper_table(keys: Mapping[Path, KeeperKey], images_dir: Path) -> str:
    """Why the first of these files stays, in Markdown: a row a file, a column a criterion, in the order they decide.

    keys : by path, best first. The criterion that puts a file behind the first one is bold
    """
    best = next(iter(keys.values()))
    ranked = (sorted({getattr(key, name) for key in keys.values()}) for name in ("preference", "age", "row"))
    preferences, ages, rows = ranked
    first = 0 if best.preference else 1  # without preferences, no column of them
    lines = [("file", *CRITERIA[first:]), ["---"] * (1 + len(CRITERIA[first:]))]
    for path, key in keys.items():
        cells = [
            f"{1 + preferences.index(key.preference)}. of {len(preferences)}",
            f"{key.detail:.0%} less" if key.detail else "all",
            "yes" if key.enlarged else "no",
            "any" if key.folder else "protected",
            f"{count_of(key.compression, 'step')} coarser" if key.compression else "finest",
            count_of(-key.contents, "thing"),
            f"{1 + ages.index(key.age)}. of {len(ages)}",
            "a copy's" if key.name else "any",
            f"{1 + rows.index(key.row)}. of {len(rows)}",
        ]
        decides = next((place for place, pair in enumerate(zip(key, best, strict=True)) if len(set(pair)) > 1), None)
        if decides is not None:
            cells[decides] = f"**{cells[decides]}**"
        lines.append([name_in(path, images_dir).replace("|", "\\|"), *cells[first:]])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _row(cluster: Cluster, member: Member, images_dir: Path) -> tuple:
    return (
        name_in(member.path, images_dir),
        cluster.number,
        int(not member.removable),
        member.kind,
        f"{max(member.distance, 0.0):.4f}",
        f"{member.coverage:.3f}",
        member.width,
        member.height,
        member.bytes,
        escape(str(member.reason or "")),
        escape(cluster.why) if member is cluster.keeper else "",
        member.version or "",
        name_in(member.keeper, images_dir) if member.keeper else "",
    )


def _left_out(pages: Sequence[Sequence[Cluster]], clusters: int) -> str:
    drawn = sum(map(len, pages[:MAX_PAGES]))
    return f"The first {drawn:,} of {count_of(clusters, 'cluster')} are drawn; clusters.csv lists them all."
