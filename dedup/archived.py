"""Which archive file stays for which incoming ones: rows of a group in, keepers in the archive with their rows out.

A group may hold several archive files that each show some of the incoming ones. Those that let most go are taken
first; a file that none of them lets go comes with the one that shows most of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from dedup.keepers import keeper_candidates
from dedup.members import COVERED, what_is_missing
from dedup.pairs import Pairs

NEAR = 3  # archive files, nearest to an incoming one, that are tried as its keeper


def share_out(pairs: Pairs, groups: Sequence[Sequence[int]]) -> list[list[tuple[int, list[int]]]]:
    """For each group of rows, some in the archive and some not, the keepers and the incoming rows that come with each.

    Every incoming row is in one list, every keeper lies in the archive; archive files that keep nothing are left out.
    """
    split = [([row for row in group if pairs.archived(row)], group) for group in groups]
    tried = [
        (_candidates(pairs, archived, incoming), incoming)
        for archived, group in split
        if (incoming := [row for row in group if row not in set(archived)])
    ]
    pairs.match_all((row, keeper) for keepers, incoming in tried for keeper in keepers for row in incoming)
    return [_assigned(pairs, keepers, incoming) for keepers, incoming in tried]


def _candidates(pairs: Pairs, archived: Sequence[int], incoming: Sequence[int]) -> list[int]:
    """The archive files worth trying: those that could stay for the whole group, and the nearest of each file."""
    near = {
        keeper
        for row in incoming
        for keeper in sorted(archived, key=lambda keeper: (pairs.distance(row, keeper), keeper))[:NEAR]
    }
    return sorted(near.union(keeper_candidates(pairs, archived)))


def _assigned(pairs: Pairs, keepers: Sequence[int], incoming: Sequence[int]) -> list[tuple[int, list[int]]]:
    going = {keeper: {row for row in incoming if _may_go(pairs, row, keeper)} for keeper in keepers}
    left, found = set(incoming), {}
    while left:
        best = min(keepers, key=lambda each: (-len(going[each] & left), -pairs.pixels(each), *pairs.by_quality(each)))
        if not going[best] & left:
            break
        found[best] = going[best] & left
        left -= found[best]
    for row in sorted(left):
        found.setdefault(max(keepers, key=lambda keeper: _shown(pairs, row, keeper, found)), set()).add(row)
    return [(keeper, sorted(rows)) for keeper, rows in found.items()]


def _may_go(pairs: Pairs, row: int, keeper: int) -> bool:
    """Whether a file may go for a keeper, also if it is larger and shows no more detail."""
    view = pairs.view(row, keeper)
    if view and view.resolution < COVERED and not what_is_missing(view._replace(resolution=1.0)):
        pairs.is_enlarged(row, keeper)
    return pairs.member(row, keeper).removable


def _shown(pairs: Pairs, row: int, keeper: int, found: dict) -> tuple[float, bool, float, int]:
    """To sort keepers of a file by, none of which lets it go."""
    view = pairs.view(row, keeper)
    return view.coverage if view else -1.0, keeper in found, -pairs.distance(row, keeper), -keeper
