"""The review page. Input: what a run found. Output: one HTML file in which a user looks at it and decides.

Result  ->  output_dir/report.html, output_dir/thumbnails/

The page holds its data, style and program, and shows only files from this disk.
"""

from __future__ import annotations

import hashlib
import json
import os
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from dedup.clustering.full_resolution import is_looked_at
from dedup.clustering.members import (
    COVERED,
    KEEPER,
    LEVELS,
    Choice,
    Member,
    Why,
    seen_by,
    way_back,
    what_is_missing,
)
from dedup.contents.inventory import Contents, capture_time, read_all_contents, why_it_stays
from dedup.dataset.folder_rules import DIGEST, THUMBNAILS
from dedup.dataset.thumbnails import thumbnail_path, write_thumbnails
from dedup.output import relative_path, write_whole
from dedup.store import NOTHING, Store
from dedup.workers import attempt, step

if TYPE_CHECKING:
    from dedup.clustering.clusters import Cluster
    from dedup.clustering.members import View
    from dedup.clustering.result import Result, Series
    from dedup.config import Config
    from dedup.dataset.folder_rules import Places
    from dedup.matching.confirmation import Match
    from dedup.output import Phases

NAME, DECISIONS = "report.html", "decisions.json"
MOST_CLUSTERS, MOST_UNREADABLE, MOST_SERIES = 20_000, 1_000, 500  # shown on the page
_TEMPLATES = Path(__file__).parent / "templates"
_STYLE, _SCRIPTS = "report.css", ("state.js", "words.js", "cards.js", "compare.js", "series.js", "report.js")


def write_small(
    config: Config,
    result: Result,
    progress: bool | Phases = True,
    facts: Store = NOTHING,
    series: Sequence[Series] = (),
) -> dict[Path, str]:
    """Write the thumbnails of the review page into config.output_dir; see `write_thumbnails`.

    progress : show a bar on stderr, or the run's phases; facts : what is remembered of the files' contents
    """
    shown = result.clusters[:MOST_CLUSTERS]
    paths = [member.path for cluster in shown for member in (cluster.keeper, *cluster.members)]
    paths += [shot.path for each in series[:MOST_SERIES] for shot in each.shots]
    paths = list(dict.fromkeys(paths))
    known = {path: content[:DIGEST].hex() for path in paths if (content := facts.content(path))}
    folder = config.output_dir / THUMBNAILS
    return write_thumbnails(paths, folder, config.num_workers, progress, known, facts.losses)


def small_files(config: Config, digests: Mapping[Path, str]) -> dict[Path, Path]:
    """By path, the thumbnails that `write_small` has written."""
    return {path: thumbnail_path(config.output_dir / THUMBNAILS, digest) for path, digest in digests.items()}


def write_page(output_dir: Path, data: dict) -> Path:
    """Write the review page of `page_data` beside its thumbnails. Raises OSError : output_dir can't be written"""
    write_whole(output_dir / NAME, render(data).encode())
    return output_dir / NAME


def page_data(
    config: Config,
    result: Result,
    digests: Mapping[Path, str],
    command: str = "",
    facts: Store = NOTHING,
    series: Sequence[Series] = (),
) -> dict:
    """What the page shows, as plain values.

    Parameters
    ----------
    digests : what `write_small` returned: blake2b of the files' contents, by path; files without one are shown, but
        can't be decided on
    command : the command that applies the saved decisions, as the user types it
    facts : what is remembered of the files' contents
    series : what `find_series` returned
    """
    shown, failures = result.clusters[:MOST_CLUSTERS], result.embeddings.failures
    files = [member.path for cluster in shown for member in (cluster.keeper, *cluster.members)]
    contents = read_all_contents(files, config.num_workers, facts)
    pairs = _pairs(shown, result, config, facts, contents)
    settings = {name: _plain(value) for name, value in asdict(config).items()} | {"epsilon": round(result.epsilon, 6)}
    data = {
        "read": len(result.embeddings.paths),
        "unreadable": len(failures),
        "failures": [
            [relative_path(path, config.images_dir).as_posix(), reason]
            for path, reason in list(failures.items())[:MOST_UNREADABLE]
        ],
        "settings": settings,
        "levels": list(LEVELS.items()),
        "covered": COVERED,
        "command": command,
        "clusters_found": len(result.clusters),
        "series_found": len(series),
        "series": _shots(series[:MOST_SERIES], config, result, digests),
        "images": _url(_way(config.images_dir, config.output_dir)) + "/",
        "thumbnails": THUMBNAILS + "/",
        "clusters": [
            {"files": _files(cluster, config, result.places, digests, contents), "pairs": known, "why": cluster.why}
            for cluster, known in zip(shown, pairs, strict=True)
        ],
    }
    if result.places.against:
        data["against"] = True
    return data | {"id": hashlib.blake2b(json.dumps(data).encode(), digest_size=8).hexdigest()}


def render(data: dict) -> str:
    """The page as HTML: only its own style and program run in it, allowed by their digests."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    style = (_TEMPLATES / _STYLE).read_text(encoding="utf-8")
    script = "".join((_TEMPLATES / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    script = f'"use strict";\n(() => {{\n{script}}})();\n'
    return environment.get_template("report.html").render(
        data=data, style=style, script=script, style_digest=_csp_digest(style), script_digest=_csp_digest(script)
    )


def _csp_digest(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _files(
    cluster: Cluster, config: Config, places: Places, digests: Mapping[Path, str], contents: Mapping[Path, Contents]
) -> list[dict]:
    """The files of a cluster; `keepers`: which file each would go for at each level, left out if always the first."""
    files = (cluster.keeper, *cluster.members)
    place_of = {member.path: place for place, member in enumerate(files)}
    return [
        _file(member, config, places, digests.get(member.path))
        | {"version": member.version}
        | ({} if (time := capture_time(contents[member.path])) is None else {"date": f"taken {_time(time)}"})
        | ({"changes": member.changes} if member.changes else {})
        | ({"keepers": keepers} if any(keepers := [place_of.get(keeper, 0) for keeper, _ in _choices(member)]) else {})
        for member in files
    ]


def _choices(member: Member) -> Sequence[Choice]:
    """What becomes of a file at each level."""
    return member.levels or [Choice(member.keeper, member.reason)] * len(LEVELS)


def _file(member: Member, config: Config, places: Places, digest: str | None) -> dict:
    path = relative_path(member.path, config.images_dir).as_posix()
    url, archived = path, {}
    if archive := places.archive_of(member.path):
        url = _way(member.path, config.output_dir)
        below = member.path.relative_to(places.root_of(member.path)).as_posix()
        archived = {"archive": {"archive": archive, "path": below}}
    return archived | {
        "path": path,
        "url": _url(url),
        "blake2b": digest,
        "width": member.width,
        "height": member.height,
        "bytes": member.bytes,
        "date": _date(member.path),
    }


def _shots(series: Sequence[Series], config: Config, result: Result, digests: Mapping[Path, str]) -> list[list[dict]]:
    """The shots of each series."""
    sizes = dict(zip(result.embeddings.paths, result.embeddings.sizes, strict=True)) if series else {}

    def shot(path: Path) -> dict:
        width, height = map(int, sizes[path])
        size = path.stat().st_size if path.exists() else 0
        return _file(Member(path, width, height, size, 0.0, KEEPER, 1.0), config, result.places, digests.get(path))

    return [
        [
            shot(each.path) | {"date": _time(each.captured), "suggested": each.path == some.suggested}
            for each in some.shots
        ]
        for some in series
    ]


def _time(captured: float) -> str:
    """By the camera's clock, in seconds since 1970."""
    return datetime.fromtimestamp(captured, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _date(path: Path) -> str:
    """Day of the last change; empty once the file is gone."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime).date().isoformat()
    except (OSError, ValueError, OverflowError):
        return ""


def _pairs(
    clusters: Sequence[Cluster], result: Result, config: Config, facts: Store, contents: Mapping[Path, Contents]
) -> list[list[list]]:
    """For each cluster what is known of its pairs: those of its keeper first, then all others that were matched.

    A pair is [i, j, kind, distance, share of i that j shows, share of j that i shows, why i can't go for j, why j can't
    go for i, transform from i to j]. i and j are places in the cluster, the keeper's is 0. None is not known; "" means
    that it may go, at the level of its kind. For an edit or a part this is known only for a file and its keeper at the
    run's own level: no other pair was compared at full resolution.
    """
    paths = result.embeddings.paths
    rows = {path: row for row, path in enumerate(paths)}
    found: list[dict[tuple[int, int], list]] = [{} for _ in clusters]
    places, reasons = {}, {}  # (cluster, place) of each file; why each file can't go for its keeper
    for number, cluster in enumerate(clusters):
        files = (cluster.keeper, *cluster.members)
        places |= {rows[file.path]: (number, place) for place, file in enumerate(files)}
        for file in cluster.members:
            reasons |= {(rows[file.path], rows[keeper]): why for keeper, why in _whys(file).items()}

    def why(own: Path, kept: Path, view: View) -> str:
        reason = result.places.protects(own, kept) or what_is_missing(view)
        where = config.images_dir, result.places.root_of(kept)
        return str(reason or why_it_stays(own, kept, *where, facts, contents, result.places.merges_beside(kept)))

    for pair, match in result.matches.items():
        if places.keys() >= set(pair) and places[pair[0]][0] == places[pair[1]][0]:
            is_turned = pair[::-1] in reasons
            files = [paths[row] for row in pair]
            known = facts.losses.note(attempt(_known, match, *files, is_turned, why), *files)
            if known:
                (number, i), (_, j) = (places[row] for row in (pair[::-1] if is_turned else pair))
                found[number][i, j] = [i, j, *known]
    for (row, keeper), reason in reasons.items():
        (number, i), (_, j) = places[row], places[keeper]
        pair = found[number].setdefault((i, j), [i, j, *[None] * 7])
        member = clusters[number].members[i - 1]
        if paths[keeper] == member.keeper:
            pair[2:5] = member.kind, _round(member.distance), _round(member.coverage)
        pair[6] = reason
    return [sorted(known.values(), key=lambda pair: (pair[1] != 0, pair[:2])) for known in found]


def _whys(member: Member) -> dict[Path, str | None]:
    """Why a file can't go for each of its keepers, from the first level that says it; None if it needs a check."""
    found: dict[Path, str | None] = {}
    for keeper, reason in _choices(member):
        is_open = reason is not None and reason.code in (Why.LEVEL, Why.UNSEEN)
        if found.get(keeper) is None:
            found[keeper] = None if is_open else str(reason or "")
    return found


@step
def _known(match: Match, first: Path, second: Path, is_turned: bool, why: Callable[[Path, Path, View], str]) -> list:
    """What `_pairs` shows of two files, after their places. is_turned : as the second file sees it"""
    views = seen_by(match, is_first=True), seen_by(match, is_first=False)
    reasons = why(first, second, views[0]), why(second, first, views[1])
    if is_looked_at(match):  # only members are compared at full resolution with their keeper
        reasons = tuple(reason or None for reason in reasons)
    transform = match.transform and [_round(value) for value in match.transform]
    if is_turned:
        views, reasons = views[::-1], reasons[::-1]
        transform = transform and [_round(value) for value in way_back(transform)]
    return [match.kind, _round(match.distance), *(_round(view.coverage) for view in views), *reasons, transform]


def _round(value: float) -> float:
    return float(f"{value:.6g}")


def _plain(value: object) -> object:
    """A setting as a JSON value."""
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _way(folder: Path, start: Path) -> str:
    """The relative path from one folder to another; the whole path if they lie on two disks of Windows."""
    try:
        return Path(os.path.relpath(folder, start)).as_posix()
    except ValueError:
        return "file:///" + Path(os.path.abspath(folder)).as_posix()


def _url(path: str) -> str:
    """A path as part of a URL; bytes that are not UTF-8 as they are."""
    return quote(os.fsencode(path), safe="/:" if path.startswith("file:///") else "/")
