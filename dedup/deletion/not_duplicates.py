"""Pairs that a user called no duplicates. Input: those pairs and confirmed edges. Output: edges that keep them apart.

output_dir/not_duplicates.json:  {"not_duplicates": 1, "pairs": [[{"size": 9, "blake2b": "..."}, {...}], ...]}

A pair is remembered by content, so that it holds for files that were renamed, moved or copied. Edges join files nearest
first; an edge that would bring the two files of a remembered pair into one group is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix, triu

from dedup.dataset.decoding import digest_of
from dedup.dataset.folder_rules import DIGEST
from dedup.deletion.decisions import Content, Pair, read_pairs
from dedup.deletion.records import BadRecord, parse_object
from dedup.matching.kinds import MatchKind
from dedup.output import write_whole
from dedup.store import NOTHING, Store

if TYPE_CHECKING:
    from dedup.matching.classification import Match

NOT_DUPLICATES = "not_duplicates.json"


def read_not_duplicates(output_dir: Path) -> frozenset[Pair]:
    """The pairs that are remembered there.

    Raises
    ------
    BadRecord : the file is there and holds something else
    """
    path = output_dir / NOT_DUPLICATES
    try:
        if not path.exists():
            return frozenset()
        record = parse_object(path.read_bytes())
        if set(record) != {"not_duplicates", "pairs"} or record["not_duplicates"] != 1:
            raise BadRecord('it must be {"not_duplicates": 1, "pairs": [...]}')
        return read_pairs(record["pairs"])
    except BadRecord as error:
        raise BadRecord(f"{path}: {error}; remove the file to forget its pairs") from None


def remember(output_dir: Path, pairs: Iterable[Pair]) -> None:
    """Add pairs to those remembered; the same pairs give the same file."""
    together = read_not_duplicates(output_dir) | frozenset(pairs)
    listed = [[content._asdict() for content in pair] for pair in sorted(together)]
    output_dir.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"not_duplicates": 1, "pairs": listed}, indent=1) + "\n"
    write_whole(output_dir / NOT_DUPLICATES, text.encode("ascii"))


def keep_apart(
    graph: csr_matrix,
    matches: Mapping[tuple[int, int], Match],
    paths: Sequence[Path],
    pairs: Iterable[Pair],
    facts: Store = NOTHING,
) -> tuple[csr_matrix, dict[tuple[int, int], Match]]:
    """Leave out edges and matches so that the two files of a pair end in different clusters.

    Parameters
    ----------
    graph : (n, n) CSR, symmetric, the edges that join files; cosine distances
    matches : by row numbers (i, j), i < j
    paths : of the n files
    pairs : of contents. Every file that holds one is kept apart from every file that holds the other
    facts : knows what unchanged files hold

    Returns
    -------
    graph, matches : without the edges and matches between files that must not come together
    """
    apart = _rows_apart(graph, matches, paths, pairs, facts)
    if not apart:
        return graph, dict(matches)
    groups = _grouped(_edges(graph, matches), apart)
    cut = {
        pair
        for pair in matches
        if pair in apart or (matches[pair].kind != MatchKind.SIMILAR and _is_cut(groups, *pair))
    }
    entries = graph.tocoo()
    kept = np.fromiter(
        (not _is_cut(groups, i, j) for i, j in zip(entries.row.tolist(), entries.col.tolist(), strict=True)), bool
    )
    filtered = csr_matrix((entries.data[kept], (entries.row[kept], entries.col[kept])), shape=graph.shape)
    filtered.sort_indices()
    return filtered, {pair: match for pair, match in matches.items() if pair not in cut}


@dataclass(eq=False)
class _Group:
    """Rows that edges join, and those that must stay out."""

    rows: set[int]
    foes: set[int]


def _rows_apart(
    graph: csr_matrix, matches: Mapping, paths: Sequence[Path], pairs: Iterable[Pair], facts: Store
) -> set[tuple[int, int]]:
    """(i, j), i < j, of files that hold the two contents of a pair; only files with a match or an edge are read."""
    pairs = list(pairs)
    sizes = {content.size for pair in pairs for content in pair}
    linked = {row for pair in matches for row in pair} | set(np.flatnonzero(np.diff(graph.indptr) > 1).tolist())
    rows: dict[Content, list[int]] = {}
    for row in sorted(linked):
        if content := _content(paths[row], sizes, facts):
            rows.setdefault(content, []).append(row)
    return {
        (min(i, j), max(i, j)) for first, second in pairs for i in rows.get(first, ()) for j in rows.get(second, ())
    }


def _content(path: Path, sizes: set[int], facts: Store) -> Content | None:
    """What a file holds, if it is of one of these sizes."""
    try:
        size = path.stat().st_size
        if size not in sizes:
            return None
        if known := facts.content(path)[:DIGEST]:
            return Content(size, known.hex())
        with path.open("rb") as file:
            return Content(size, digest_of(file).hex())
    except OSError:  # gone since it was read: removal will notice that too
        return None


def _edges(graph: csr_matrix, matches: Mapping[tuple[int, int], Match]) -> list[tuple[int, int]]:
    """Edges that join files, nearest first; then those that attach a file to one that it contains."""
    upper = triu(graph, k=1).tocoo()
    order = np.lexsort((upper.col, upper.row, upper.data))
    joining = [(int(upper.row[k]), int(upper.col[k])) for k in order]
    contained = sorted((match.distance, *pair) for pair, match in matches.items() if match.kind == MatchKind.CONTAINS)
    return joining + [(i, j) for _, i, j in contained]


def _grouped(edges: Iterable[tuple[int, int]], apart: set[tuple[int, int]]) -> dict[int, _Group]:
    """The group of every row with an edge, no group with both rows of a pair that is to be kept apart."""
    groups: dict[int, _Group] = {}
    for pair in apart:
        for row, foe in (pair, pair[::-1]):
            groups.setdefault(row, _Group({row}, set())).foes.add(foe)
    for i, j in edges:
        small, large = (groups.setdefault(row, _Group({row}, set())) for row in (i, j))
        if small is large or not small.foes.isdisjoint(large.rows):
            continue
        if len(small.rows) > len(large.rows):
            small, large = large, small
        large.rows |= small.rows
        large.foes |= small.foes
        groups.update(dict.fromkeys(small.rows, large))
    return groups


def _is_cut(groups: Mapping[int, _Group], i: int, j: int) -> bool:
    return i != j and groups.get(i) is not groups.get(j)
