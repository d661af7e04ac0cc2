"""Embeddings on disk. Input: results for a batch of files. Output: a Parquet file, called a part; and parts read back.

listing : path (relative, its bytes), bytes, changed (ns)   which files there are
part    : the same, seen (as `Seen` packs it), reason       results for some of them; either seen or reason is null
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from dedup.encoder.embeddings import Embeddings, Gathering, Seen
from dedup.output import write_whole

FILE_KEY = ["path", "bytes", "changed"]  # a file with the same three is the same file
NO_FILES = pa.schema([("path", pa.binary()), ("bytes", pa.int64()), ("changed", pa.int64())]).empty_table()


def make_listing(names: Sequence[bytes], sizes: Sequence[int], changed: Sequence[int]) -> pa.Table:
    """A listing of n files; no name twice."""
    return pa.table([names, sizes, changed], schema=NO_FILES.schema)


def missing(listing: pa.Table, parts: Path) -> pa.Table:
    """The files of a listing that no part holds, by path."""
    known = [NO_FILES, *(parquet.read_table(path, columns=FILE_KEY) for path in _files(parts))]
    return listing.join(pa.concat_tables(known), keys=FILE_KEY, join_type="left anti").sort_by("path")


def make_part(block: pa.Table, found: Gathering, lost: Mapping[int, str]) -> pa.Table:
    """A part: the block's rows, their results, and the reasons of files that were lost on the way."""
    rows, reasons = range(len(block)), found.reasons | lost
    seen = pa.array([found.seen[row].pack() if row in found.seen else None for row in rows], pa.binary())
    return block.append_column("seen", seen).append_column("reason", pa.array(map(reasons.get, rows), pa.string()))


def read_embeddings(listing: pa.Table, parts: Path, size: int) -> Embeddings:
    """Embeddings of a listing's files, in its order; a file in two parts counts once. size : of a vector"""
    gathering = Gathering([Path(os.fsdecode(name)) for name in listing["path"].to_pylist()], size)
    rows = {key: row for row, key in enumerate(_keys(listing))}
    for path in _files(parts):
        part = parquet.read_table(path)
        for key, seen, reason in zip(_keys(part), part["seen"].to_pylist(), part["reason"].to_pylist(), strict=True):
            row = rows.pop(key, None)
            if row is not None and seen:
                gathering.add(row, b"", Seen.unpack(seen))
            elif row is not None:
                gathering.reasons[row] = reason
    return replace(gathering.result(), contents=[])


def _keys(table: pa.Table) -> Iterator[tuple]:
    return zip(*(table[name].to_pylist() for name in FILE_KEY), strict=True)


def _files(parts: Path) -> list[Path]:
    return sorted(parts.glob("*.parquet"))


def write_part(part: pa.Table, parts: Path) -> None:
    """Add a file to the folder, as a whole or not at all."""
    data = pa.BufferOutputStream()
    parquet.write_table(part, data)
    write_whole(parts / f"{uuid.uuid4().hex}.parquet", data.getvalue())
