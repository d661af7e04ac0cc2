"""Embeddings on disk: what was seen of a batch of files in, a Parquet file, a part, out; and back, many parts at once.

listing : path (relative, its bytes), bytes, changed (ns)       which files there are
part    : the same, and width, height, vector, panels, reason   what was seen of some of them; vector or reason is null
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from dedup.encoder.embeddings import Embeddings
from dedup.output import write_whole

FILE_KEY = ["path", "bytes", "changed"]  # a file with the same three is the same file
NO_FILES = pa.schema([("path", pa.binary()), ("bytes", pa.int64()), ("changed", pa.int64())]).empty_table()


def make_listing(names: Sequence[bytes], sizes: Sequence[int], changed: Sequence[int]) -> pa.Table:
    """A listing of n files; no name twice."""
    return pa.table([names, sizes, changed], schema=NO_FILES.schema)


def missing(listing: pa.Table, parts: Path) -> pa.Table:
    """The files of a listing that no part holds, by path."""
    return listing.join(_read(parts), keys=FILE_KEY, join_type="left anti").sort_by("path")


def make_part(block: pa.Table, paths: list[Path], found: Embeddings, lost: dict[Path, str]) -> pa.Table:
    """A part: the block's rows with width, height, vector, panels and reason."""
    d, place = found.vectors.shape[1], {path: row for row, path in enumerate(paths)}
    rows = np.array([place[path] for path in found.paths], int)
    sizes = np.zeros((len(paths), 2), np.int32)
    sizes[rows] = found.sizes
    reasons = [lost.get(path) or found.failures.get(path) for path in paths]
    columns = {
        "width": pa.array(sizes[:, 0]),
        "height": pa.array(sizes[:, 1]),
        "vector": _vectors(found.vectors, rows, len(paths), d),
        "panels": _lists(found.panels, rows[found.panel_rows], len(paths), d),
        "reason": pa.array(reasons, pa.string()),
    }
    return pa.table({name: block[name] for name in FILE_KEY} | columns)


def _vectors(vectors: np.ndarray, rows: np.ndarray, n: int, d: int) -> pa.Array:
    """(n,) lists of d float32, null but for `rows`."""
    full, missing = np.zeros((n, d), np.float32), np.ones(n, bool)
    full[rows], missing[rows] = vectors.reshape(-1, d), False
    return pa.FixedSizeListArray.from_arrays(pa.array(full.ravel()), d, mask=pa.array(missing))


def _lists(vectors: np.ndarray, rows: np.ndarray, n: int, d: int) -> pa.Array:
    """(n,) lists of lists of d float32: vectors that belong to `rows`, any number to each."""
    ordered = vectors.reshape(-1, d)[np.argsort(rows, kind="stable")]
    offsets = np.r_[0, np.bincount(rows, minlength=n).cumsum()].astype(np.int32)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(ordered.ravel(), pa.float32()), d)
    return pa.ListArray.from_arrays(pa.array(offsets), lists)


def read_embeddings(listing: pa.Table, parts: Path, d: int) -> Embeddings:
    """What the parts hold of a listing, in its order; a file that is in two of them counts once."""
    places = _places(listing, parts)
    vectors, seen = np.zeros((len(listing), d), np.float32), np.zeros(len(listing), bool)
    sizes, reasons = np.zeros((len(listing), 2), int), {}
    panels, owners, start = [np.empty((0, d), np.float32)], [np.empty(0, int)], 0
    for path in _files(parts):
        part = parquet.read_table(path)
        here = places[start : start + len(part)]
        start, part, here = start + len(part), part.filter(here >= 0), here[here >= 0]
        valid = part["vector"].is_valid().to_numpy()
        vectors[here[valid]] = _numbers(part["vector"].combine_chunks(), d)
        seen[here[valid]] = True
        sizes[here] = np.column_stack([part["width"].to_numpy(), part["height"].to_numpy()])
        shown = part["panels"].combine_chunks()
        panels.append(_numbers(shown.flatten(), d))
        owners.append(np.repeat(here, shown.value_lengths().to_numpy()))
        reasons |= dict(zip(here[~valid].tolist(), part["reason"].filter(~valid).to_pylist(), strict=True))
    paths = [Path(os.fsdecode(name)) for name in listing["path"].to_pylist()]
    kept, owner = np.flatnonzero(seen), np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return Embeddings(
        [paths[row] for row in kept],
        vectors if len(kept) == len(vectors) else vectors[kept],
        sizes[kept],
        {paths[row]: reasons[row] for row in sorted(reasons)},
        np.concatenate(panels)[order],
        np.searchsorted(kept, owner[order]),
    )


def _places(listing: pa.Table, parts: Path) -> np.ndarray:
    """(m,) int: the place in a listing of each row of the parts; -1 = not in it, or there from an earlier part."""
    rows = _read(parts)
    places = np.full(len(rows), -1)
    rows = rows.append_column("row", pa.array(np.arange(len(rows)))).group_by(FILE_KEY).aggregate([("row", "min")])
    both = listing.append_column("place", pa.array(np.arange(len(listing)))).join(rows, FILE_KEY, join_type="inner")
    places[both["row_min"].to_numpy()] = both["place"].to_numpy()
    return places


def _numbers(lists: pa.Array, d: int) -> np.ndarray:
    """(m, d) float32, of the lists that are there."""
    return lists.flatten().to_numpy().reshape(-1, d)


def _read(parts: Path) -> pa.Table:
    """The files that all parts are of."""
    return pa.concat_tables([NO_FILES, *(parquet.read_table(path, columns=FILE_KEY) for path in _files(parts))])


def _files(parts: Path) -> list[Path]:
    return sorted(parts.glob("*.parquet"))


def write_part(part: pa.Table, parts: Path) -> None:
    """Add a file to the folder, as a whole or not at all."""
    data = pa.BufferOutputStream()
    parquet.write_table(part, data)
    write_whole(parts / f"{uuid.uuid4().hex}.parquet", data.getvalue())
