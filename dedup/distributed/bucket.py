"""Files in a bucket. Input: a URI such as s3://bucket/photos. Output: its listing, copies of its files.

source  ->  listing (n,): path, bytes, changed;  names (m,)  ->  files on this disk, and a reason for each that failed
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from dedup.dataset.decoding import one_line
from dedup.distributed.shards import make_listing

CONNECTIONS = 16


def list_bucket(source: str, extensions: Sequence[str]) -> pa.Table:
    """A listing of the files under a URI that have one of the extensions, without hidden ones.

    Raises OSError, pyarrow.ArrowInvalid : it can't be listed, or is no URI
    """
    system, root = fs.FileSystem.from_uri(source)
    found = system.get_file_info(fs.FileSelector(root, recursive=True))
    files = {info.path.removeprefix(root).lstrip("/"): info for info in found if info.type == fs.FileType.File}
    endings = tuple(extensions)
    names = sorted(name for name in files if name.lower().endswith(endings) and "/." not in f"/{name}")
    sizes, changed = [files[name].size for name in names], [files[name].mtime_ns or 0 for name in names]
    return make_listing([os.fsencode(name) for name in names], sizes, changed)


def fetch_files(source: str, names: Sequence[str], paths: Sequence[Path]) -> dict[int, str]:
    """Copy files from a bucket; returns by place the reasons of those that can't be fetched."""
    system, root = fs.FileSystem.from_uri(source)

    def fetch(name: str, path: Path) -> str:
        try:
            with system.open_input_stream(f"{root}/{name}") as stream:
                path.write_bytes(stream.read())
        except (OSError, pa.ArrowException) as error:
            return f"can't be fetched: {one_line(error)}"
        return ""

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        reasons = threads.map(fetch, names, paths)
        return {place: reason for place, reason in enumerate(reasons) if reason}
