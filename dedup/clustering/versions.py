"""Versions of a picture, which file of each stays, and what goes for it. Input: evidence. Output: decisions.

rows of a cluster  ->  list[Version], the best file of each first  ->  {row: Decision}

No file is read here: everything is decided from what was gathered before.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import floor, inf, log
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dedup.clustering.evidence import Evidence, FileRecord, Pair
from dedup.clustering.members import COVERED, LEVELS, Reason, Why
from dedup.clustering.quality import DENSER, STEP_BY_BITS
from dedup.contents.inventory import ages, richness, what_it_lacks
from dedup.contents.merging import SINGLE, lacking
from dedup.matching.confirmation import Verifier
from dedup.output import count_of

if TYPE_CHECKING:
    from dedup.clustering.clusters import Cluster
    from dedup.clustering.result import Result
    from dedup.dataset.folder_rules import Places

ALMOST = 0.1  # share of a cluster's files that its keeper may leave uncovered if it is a better file
NO_CHANCE = 1.1  # ratio of quantisation steps from which one counts as coarser
LOSSLESS = 0.5  # grey levels, quantisation step taken for a lossless file
SMOOTHER = 1.3  # a JPEG lost detail before if one with coarser steps has this many times its bits
UNSURE = 2.0  # ratio of steps, below which bits do not show which of two formats was compressed more
SMALLER, RIVALS = 3.24, 4  # least px of an enlargement for each px of its source; most sources that are compared
COPIED = re.compile(r"copy|copie|copia|cópia|kopie|コピー|副本|\(\d+\)$", re.IGNORECASE)  # in names of copies


class KeeperKey(NamedTuple):
    """Sort key of files that show the same, fields in this order; the file with the least key stays.

    preference : for each word of the `prefer` setting 0 if it fits, else 1; or the age or the bytes that it asks for
    detail : share missing of the finest file's resolution; 0 if next to nothing is missing
    enlarged : 1 if it was enlarged from a smaller one of them
    folder : 0 if it stays in any case, for its folder
    compression : how many times coarser it, or its source, was quantised than the finest file, in powers of NO_CHANCE
    contents : how much it holds besides its picture, negative
    age : seconds since 1970: the capture time if all files have one, else the last change
    name : 1 if it is named as a copy
    row : of its path
    """

    preference: tuple[float, ...]
    detail: float
    enlarged: int
    folder: int
    compression: int
    contents: int
    age: float
    name: int
    row: int


class Version(NamedTuple):
    """Files that are one picture saved in several ways: all match the first, which is the best of them.

    why : the reason for the best file, against the second best
    """

    rows: tuple[int, ...]
    why: str

    @property
    def best(self) -> int:
        return self.rows[0]


class Decision(NamedTuple):
    """What becomes of a file. keeper : what it would go for; reason : why it stays, None if it goes"""

    keeper: int
    reason: Reason | None


def chains(rows: Sequence[int], evidence: Evidence) -> Iterator[list[int]]:
    """Rows that are one version with each other, directly or through others."""
    if evidence.verifier is None:
        yield from [list(rows)] if rows else []
        return
    left = dict.fromkeys(rows)
    while left:
        chain = [next(iter(left))]
        del left[chain[0]]
        for row in chain:
            near = [other for other in sorted(evidence.alike.get(row, ())) if other in left]
            chain += near
            for other in near:
                del left[other]
        yield chain


def keys_of(rows: Sequence[int], evidence: Evidence, same_detail: bool = False) -> list[KeeperKey]:
    """The sort keys of rows that show the same, best first.

    same_detail : whether none of them has more detail than another, whatever their sizes
    """
    files = {row: evidence.files[row] for row in rows}
    sources = {row: {s for s in rows if (row, s) in evidence.made_from} for row in rows} if evidence.made_from else {}
    pixels = {row: min([files[row].pixels, *(files[s].pixels for s in sources.get(row, ()))]) for row in rows}
    most = max(pixels.values())
    full = [row for row in rows if same_detail or pixels[row] >= COVERED**2 * most]
    steps = _steps(files, full, sources)
    finest = min(steps[row] for row in full)
    old = dict(zip(files, ages([(file.contents, file.modified / 1e9) for file in files.values()]), strict=True))
    return sorted(
        KeeperKey(
            preference=_preference(file, old[row], evidence.places),
            detail=0.0 if row in full else 1 - (pixels[row] / most) ** 0.5,
            enlarged=int(pixels[row] < file.pixels),
            folder=int(not file.preferred),
            compression=max(floor(log(steps[row] / finest) / log(NO_CHANCE)), 0),
            contents=-richness(file.contents),
            age=old[row],
            name=int(COPIED.search(file.path.stem) is not None),
            row=row,
        )
        for row, file in files.items()
    )


def keeper_keys(cluster: Cluster, result: Result) -> dict[Path, KeeperKey]:
    """The sort keys of the files that are one version with the keeper of a cluster, by path, best first.

    The evidence is gathered once more, for these files alone.
    """
    embeddings, verifier = result.embeddings, None
    if result.config.verify:
        verifier = Verifier(embeddings.paths, 0, progress=False)
        verifier.matches, verifier.compared = dict(result.matches), set(result.matches)
    evidence = Evidence(embeddings, verifier, result.config.images_dir, result.epsilon, result.places)
    paths = [member.path for member in (cluster.keeper, *cluster.members) if member.version == 1]
    rows = [embeddings.paths.index(path) for path in paths]
    evidence.read_files(rows)
    evidence.match((row, rows[0]) for row in rows[1:])
    while pairs := possible_sources(rows, evidence):
        evidence.trace(pairs)
    return {embeddings.paths[key.row]: key for key in keys_of(rows, evidence)}


def possible_sources(chain: Sequence[int], evidence: Evidence) -> list[Pair]:
    """The best of a chain, with the files it may have been enlarged or saved again from; empty if that is known.

    If the best file's compression is known only from others, as a WebP's is, also the best file that shows its own.
    """
    keys, files = keys_of(chain, evidence), evidence.files
    measured = next((key for key in keys if files[key.row].details.tells_compression), keys[0])
    wanted = []
    for best in dict.fromkeys((keys[0].row, measured.row)):
        smaller = [key.row for key in keys if SMALLER * files[key.row].pixels <= files[best].pixels]
        equals = [key for key in keys if key.row != best and _are_of_one_size(files[key.row], files[best])]
        coarser = [key.row for key in equals if key.compression and files[key.row].details.step]
        coarser.sort(key=lambda row: (not evidence.is_exact(best, row), files[row].details.step))
        wanted += [(best, row) for row in (*smaller[:1], *coarser[:RIVALS])]
    return [] if evidence.traced.issuperset(wanted) else wanted


def find_versions(rows: Sequence[int], evidence: Evidence) -> list[Version]:
    """Split the files of a cluster: the best one takes all that match it as one version, then the best of the rest."""
    found = []
    for chain in chains(rows, evidence):
        left = keys_of(chain, evidence)
        while left:
            same = [key for key in left[1:] if evidence.is_one_version(key.row, left[0].row)]
            found.append(Version((left[0].row, *(key.row for key in same)), _why(left[0], same, evidence)))
            taken = {left[0].row, *(key.row for key in same)}
            left = [key for key in left if key.row not in taken]
    return found


def choose_version(versions: Sequence[Version], rows: Sequence[int], evidence: Evidence) -> Version:
    """The version whose best file shows all of most others, or nearly so; of several, the one with the best file."""
    covered = {
        version: sum(row != version.best and evidence.is_covered(row, version.best) for row in rows)
        for version in versions
    }
    least = max(covered.values()) - ALMOST * len(rows)
    able = {version.best: version for version in versions if covered[version] >= least}
    finest = [row for row in able if not any(_is_finer(other, row, evidence) for other in able)] or list(able)
    chosen = able[keys_of(finest, evidence, same_detail=True)[0].row]
    if not chosen.why and covered[chosen]:
        chosen = chosen._replace(why=f"shows all of {covered[chosen]} of {count_of(len(rows) - 1, 'other')}")
    return chosen


def decide(versions: Sequence[Version], evidence: Evidence, remove: str) -> dict[int, Decision]:
    """What becomes of every file of a cluster but its keeper, the best file of the first version.

    A file goes for the best file of its version, or for the cluster's keeper. The best file itself goes only for the
    keeper. If it does, the files of its version that may not go for the keeper stay, or go for the best of those that
    stay. Of files with the same bytes that would all stay, the first stays and the others go for it.
    """
    keeper = versions[0].best
    found = decide_for(versions[0].rows[1:], keeper, evidence, remove)
    for version in versions[1:]:
        found |= decide_for(version.rows, keeper, evidence, remove)
        staying = [row for row in version.rows if found[row].reason]
        for row, each in decide_for(staying[1:], staying[0], evidence, remove).items() if staying else ():
            if staying[0] == version.best or each.reason is None:
                found[row] = each
    first: dict[bytes, int] = {}
    for row in (row for version in versions for row in version.rows if row in found and found[row].reason):
        twin = first.setdefault(evidence.digests[row], row) if evidence.digests else row
        if twin != row and evidence.reason(row, twin, remove) is None:
            found[row] = Decision(twin, None)
    return found


def decide_for(rows: Sequence[int], keeper: int, evidence: Evidence, remove: str) -> dict[int, Decision]:
    """What becomes of files that can go for one keeper only."""
    return {row: Decision(keeper, evidence.reason(row, keeper, remove)) for row in rows}


def agreeing(decided: Sequence[dict[int, Decision]], evidence: Evidence) -> Sequence[dict[int, Decision]]:
    """The decisions; but files stay that would write different values, such as two places, into one keeper's XMP file.

    Files also stay that would change a keeper's XMP file if another file's XMP goes because the two are equal.
    """
    held = {row: file.contents.held for row, file in evidence.files.items()}
    going = [(some, row, each.keeper) for some in decided for row, each in some.items() if each.reason is None]
    merged = [(*each, lacking(held[each[1]], held[each[2]])) for each in going]
    values, paired = defaultdict(set), {keeper for _, row, keeper, _ in merged if (row, keeper) in evidence.paired}
    for _, _, keeper, fields in merged:
        for name in fields:
            values[keeper, name].add(frozenset(fields[name]))
    for some, row, keeper, fields in merged:
        other = [name for name in SINGLE if name in fields and len(values[keeper, name]) > 1]
        text = "the XMP file beside its keeper stays for one that goes" if fields and keeper in paired else ""
        if text := f"has another {other[0]} than others that go for the same file" if other else text:
            some[row] = Decision(keeper, Reason(Why.CONTENTS, text))
    return decided


def stands_for(row: int, keepers: Sequence[int], evidence: Evidence, remove: str) -> int:
    """The archive file that an incoming one goes for: the surest, nearest match of those that allow it, or of all."""

    def rank(keeper: int) -> tuple:
        view = evidence.view(row, keeper)
        kinds = list(LEVELS["edits"])
        kind = kinds.index(view.kind) if view and view.kind in kinds else len(kinds)
        stays = evidence.reason(row, keeper, remove) is not None
        return stays, kind, -view.coverage if view else 0.0, evidence.distance(row, keeper), keeper

    return min(keepers, key=rank)


def _preference(file: FileRecord, age: float, places: Places) -> tuple[float, ...]:
    """How far a file is from each word of `prefer`."""
    ordered = {"oldest": age, "newest": -age, "largest": -file.bytes, "smallest": file.bytes}
    return tuple(
        ordered[word] if word in ordered else float(not places.fits(file.path, word, folder))
        for word, folder in places.prefer
    )


def _steps(files: dict[int, FileRecord], full: Sequence[int], sources: dict[int, set[int]]) -> dict[int, float]:
    """Quantisation step of each file in grey levels, or that of the file it was made from, if that is coarser.

    A JPEG with finer steps that needs far fewer bits than a coarser one is smoother, and counts as coarser than that.
    Lossy files without a table count as a JPEG of as many bits.

    full : rows of the largest files, whose JPEGs show how many bits this picture needs
    """
    found = {row: LOSSLESS if file.details.lossless else file.details.step for row, file in files.items()}
    for row in sorted(files, key=lambda row: -found[row]):  # the coarsest first: it may be a source's source
        found[row] = max([found[row], *(found[source] for source in sources.get(row, ()))])
    bits = {row: max(files[row].details.bits, 1e-3) for row in files}
    jpegs = [row for row in full if files[row].details.step]
    for row in sorted(jpegs, key=lambda row: -found[row]):
        richer = [found[other] for other in jpegs if found[other] > found[row] and bits[other] > SMOOTHER * bits[row]]
        found[row] = max([found[row], *(step * NO_CHANCE**2 for step in richer)])
    known = max(jpegs, key=bits.get, default=None)
    for row in (row for row, step in found.items() if not step):
        step, needed = (found[known], bits[known]) if known is not None else (10.0, 1.0)
        ratio = (DENSER * bits[row] / needed) ** STEP_BY_BITS
        found[row] = step if 1 / UNSURE < ratio < UNSURE else max(ratio * step, LOSSLESS)
    return found


def _are_of_one_size(one: FileRecord, other: FileRecord) -> bool:
    return (one.width, one.height) == (other.width, other.height)


def _is_finer(other: int, row: int, evidence: Evidence) -> bool:
    """Whether another file shows a row's picture at a higher resolution."""
    view = evidence.view(row, other) if other != row else None
    return view is not None and view.resolution > 1 / COVERED


def _why(best: KeeperKey, others: Sequence[KeeperKey], evidence: Evidence) -> str:
    """The first field in which the best file of a version differs from the next file with other bytes, as text."""
    if not others:
        return ""
    kinds = {key: evidence.view(key.row, best.row).kind for key in others}
    other = next((key for key in others if kinds[key] != "identical"), others[0])
    file, rival = evidence.files[best.row], evidence.files[other.row]
    field = next(name for name in KeeperKey._fields if getattr(best, name) != getattr(other, name))
    if field == "preference":
        each = zip(evidence.places.prefer, best.preference, other.preference, strict=True)
        return f"preferred: {next(word for (word, _), own, rival in each if own != rival)}"
    if field == "detail":
        return f"{_times(file.pixels / max(rival.pixels, 1))} the pixels"
    if field == "enlarged":
        return "the larger one is an enlargement"
    if field == "folder":
        return file.preferred
    if field == "compression":
        ratio = rival.details.step / (file.details.step or inf)
        ratio = ratio if ratio > NO_CHANCE else NO_CHANCE ** (other.compression - best.compression)
        return "saved without loss" if file.details.lossless else f"compressed {_times(ratio)} finer"
    if field == "contents":
        more = what_it_lacks(file.contents, rival.contents) or tuple(file.contents.held)
        return f"has the {' and '.join(more[:3])}" + (f" and {len(more) - 3} more" if len(more) > 3 else "")
    if field == "age":
        return f"older by {_duration(int(other.age - best.age))}"
    return "the other is named a copy" if field == "name" else "first by path, all else being equal"


def _duration(seconds: int) -> str:
    """A duration in the largest unit of which it is at least one."""
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds >= length:
            return count_of(seconds // length, unit)
    return "less than a second"


def _times(ratio: float) -> str:
    return f"{ratio:.1f}x" if ratio < 9.95 else f"{ratio:.0f}x"
