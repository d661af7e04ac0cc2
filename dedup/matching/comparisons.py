"""What is known of pairs by their contents: equal ones, and how others compared in an earlier run.

contents (n,)  ->  Match, or None where they are not one picture, by pairs (i, j) of rows
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, replace
from pathlib import Path

from dedup.matching.classification import WHOLE, Match
from dedup.matching.kinds import MatchKind
from dedup.store.cache import Cache
from dedup.store.memory import Memory, comparing_code

KEPT_AT_ONCE = 256  # results kept at a time


class Comparisons:
    """How pairs of files compared, by contents; in order, as the first of a match is not its second.

    Parameters
    ----------
    memory : tells which files still hold what they held; results of others are not kept
    paths, contents : (n,) of the files that pairs are made of
    """

    def __init__(self, cache: Cache, memory: Memory, paths: Sequence[Path], contents: Sequence[bytes]):
        self._cache, self._memory, self._paths, self._contents = cache, memory, paths, contents
        self._new: list[tuple[int, int, Match | None]] = []
        self._tag = comparing_code()

    def recall(self, pairs: Iterable[tuple[int, int, float]]) -> dict[tuple[int, int], Match | None]:
        """Results of pairs (i, j, cosine distance), of those with equal contents and of those remembered."""
        found, keys = {}, {}
        for i, j, distance in pairs:
            if self._contents[i] == self._contents[j]:
                found[i, j] = Match(MatchKind.IDENTICAL, distance, transform=WHOLE)
            else:
                keys[i, j] = self._key(i, j), distance
        values = self._cache.get("pairs", [key for key, _ in keys.values()])
        return found | {pair: _unpack(values[key], distance) for pair, (key, distance) in keys.items() if key in values}

    def keep(self, i: int, j: int, match: Match | None) -> None:
        """Keep a result, at the latest with the next `flush`."""
        self._new.append((i, j, match))
        if len(self._new) >= KEPT_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        rows = sorted({row for i, j, _ in self._new for row in (i, j)})
        held = self._memory.held([self._paths[row] for row in rows])
        same = {row for place, row in enumerate(rows) if place in held and held[place].content == self._contents[row]}
        new = [(self._key(i, j), _pack(match)) for i, j, match in self._new if {i, j} <= same]
        self._cache.put("pairs", new)
        self._new = []

    def _key(self, i: int, j: int) -> bytes:
        return self._tag + self._contents[i] + self._contents[j]


def _pack(match: Match | None) -> bytes:
    return json.dumps(match and astuple(match), default=float).encode()


def _unpack(value: bytes, distance: float) -> Match | None:
    fields = json.loads(value)
    if fields is None:
        return None
    match = Match(*(tuple(each) if isinstance(each, list) else each for each in fields))
    return replace(match, kind=MatchKind(match.kind), distance=distance)
