"""Which file of a cluster stays: rows and their matches in, the keeper and what decided for it out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from itertools import combinations

from dedup.clustering.criteria import CLEAR, NEAREST, SAME_PLACE, SOURCE, by_share, by_sight, compare
from dedup.clustering.members import COVERED, UNMARKED
from dedup.clustering.pairs import Pairs
from dedup.matching.classification import CONFIRMED
from dedup.words import count_of

BY_SIZE, BY_PLACE, BY_MATCHES = 1, 2, 1  # how many of each are tried as the keeper
ALMOST = 0.1  # share of a cluster's files that may stay for the sake of a better keeper
ONE = 1  # file that may so where it is no tenth of them, if another still goes
CHANCE = 1  # file more that may stay, where a sample tells of a cluster
EQUAL = 0.02  # cosine distance up to which a file that shows the same may be the keeper's better
RECOLOURED, A_COLOUR = 0.2, 10.0  # change of the mean chroma (CIELAB), of at least so much, that cutting does not make
CENTRAL = 4  # files, nearest to all others, that may be so as well
EQUALS = 12  # files that are held against the keeper, beside those with its very bytes
ROUNDS = 3  # after which three files are each better than the next

Search = Generator[list[tuple[int, int]], None, int]  # yields the pairs that it wants matched next, returns a row


def keeper_candidates(pairs: Pairs, rows: Sequence[int]) -> list[int]:
    """The few rows that are worth trying as the keeper.

    The largest, those nearest to all others, the one that covers most others among the pairs matched so far, and the
    best of those that are preferred.
    """
    means = pairs.means(rows)
    middle = min(means.values())
    by_place = sorted(
        rows, key=lambda row: (int((means[row] - middle) / SAME_PLACE), -pairs.pixels(row), *pairs.by_quality(row))
    )
    twins = {row: (means[row], pairs.pixels(row), pairs.file(row)[0]) for row in rows}  # equal for copies of one file
    first = {twins[row]: row for row in reversed(by_place)}
    by_place.sort(key=lambda row: first[twins[row]] != row)
    by_size = sorted(by_place, key=lambda row: -pairs.pixels(row))
    by_matches = sorted(by_place, key=lambda row: -pairs.covered_by[row])
    preferred = [row for row in by_size if pairs.preferred(row)]
    return sorted({*by_size[:BY_SIZE], *by_place[:BY_PLACE], *by_matches[:BY_MATCHES], *preferred[:BY_SIZE]})


def choose_keeper(pairs: Pairs, rows: Sequence[int], candidates: Sequence[int], is_sample: bool = False) -> int:
    """The candidate that lets most other rows go, or nearly most: few too many is better than the original too few.

    Of several, the one that no other is better than; none that was made from another by adding to it.
    is_sample : whether the cluster has more rows than these
    """
    sources = [row for row in candidates if not any(_is_made_from(pairs, row, other, rows) for other in candidates)]
    candidates = sources or candidates
    going = {keeper: count_going(pairs, rows, keeper) for keeper in candidates}
    least = max(going.values()) - ALMOST * len(rows) - CHANCE * is_sample
    left = [keeper for keeper in candidates if going[keeper] >= least]
    left = [keeper for keeper in left if not any(_shows_better(pairs, other, keeper) for other in left)] or left
    best = left[0]
    for other in left[1:]:
        best = compare(pairs, best, other, rows).better
    return best


def better_equal(pairs: Pairs, rows: Sequence[int], keeper: int) -> Search:
    """Of the files that show just what the keeper shows, the best. Every row is matched with the keeper already."""
    equals, best = list(_equals(pairs, rows, keeper)), keeper
    for _ in range(ROUNDS):
        passed, rivals = {best}, [keeper, *equals]
        yield [(best, row) for row in rivals]
        for place, row in enumerate(rivals, start=1):
            if row != best and compare(pairs, best, row, rows).better == row and _shows_all(pairs, row, best):
                best = row
                passed.add(row)
                yield [(best, other) for other in rivals[place:]]
        if len(passed) == 1:
            break
    else:  # of three, each may be better than the next
        rivals = sorted({keeper, *passed, *equals[-EQUALS:]})
        yield list(combinations(rivals, 2))
        verdicts = {two: compare(pairs, *two, rows) for two in combinations(rivals, 2)}
        wins = Counter(verdict.better for verdict in verdicts.values())
        copies = {sum(two) - verdict.better for two, verdict in verdicts.items() if verdict.why == SOURCE}
        best = max(rivals, key=lambda row: (row not in copies, wins[row]))
    for row in equals if best != keeper else ():
        pairs.is_enlarged(row, best)  # then it may go for the best
    return best


def better_keeper(pairs: Pairs, rows: Sequence[int], better: int, chosen: int) -> int:
    """The one that is better in itself, if it lets go nearly all that the one chosen before does; else that one."""
    if better == chosen:
        return chosen
    others = [row for row in rows if row == chosen or (row != better and pairs.is_covered(row, chosen))]
    staying = sum(not pairs.is_covered(row, better) for row in others)
    return better if staying <= max(ALMOST * len(rows), ONE * (staying < len(others))) else chosen


def count_going(pairs: Pairs, rows: Sequence[int], keeper: int) -> int:
    """How many of the rows may go for the keeper, as far as they are known."""
    return sum(row != keeper and pairs.is_covered(row, keeper) for row in rows)


def few_of(rows: Sequence[int]) -> float:
    """How many more of the rows another keeper may let go without being the better one."""
    return max(ALMOST * len(rows), ONE)


def why_kept(pairs: Pairs, rows: Sequence[int], keeper: int) -> str:
    """What decided for the keeper, against the file that came nearest to it and is not the same, byte for byte."""
    equals = set(_equals(pairs, rows, keeper))
    verdicts = []
    for row in (row for row in rows if row != keeper):
        view = pairs.view(row, keeper)
        verdict = compare(pairs, keeper, row, rows) if row in equals else by_share(view, keeper, row)
        verdict = verdict or by_sight(pairs, keeper, row)
        if verdict is not None and verdict.better == keeper:
            verdicts.append((view.kind != "identical", verdict.rank, verdict.why))
    if verdicts:
        return max(verdicts, key=lambda verdict: verdict[:2])[2]
    going = count_going(pairs, rows, keeper)
    return f"lets {going} of {count_of(len(rows) - 1, 'other')} go" if going else NEAREST


def _equals(pairs: Pairs, rows: Sequence[int], keeper: int) -> Iterator[int]:
    """Rows that may be better than the keeper although it covers them: all copies of its bytes, and a few.

    Those are the nearest, the most central, and such as are preferred.
    """
    found, means = [], pairs.means(rows)
    central = set(sorted(rows, key=lambda row: (means[row], row))[:CENTRAL])
    for row in rows:
        view = pairs.view(row, keeper) if row != keeper else None
        if view is None or view.kind == "similar" or not pairs.file(row)[0]:
            continue
        if min(view.coverage, view.shown) >= COVERED and max(view.marks, view.hidden) <= UNMARKED:
            near = pairs.distance(row, keeper) <= EQUAL
            if near or row in central or view.kind == "identical" or pairs.preferred(row):
                found.append((view.kind != "identical", not pairs.preferred(row), pairs.distance(row, keeper), row))
    found.sort()
    twins = sum(not differs for differs, *_ in found)
    return (row for *_, row in found[: twins + EQUALS])


def _is_made_from(pairs: Pairs, row: int, source: int, rows: Sequence[int]) -> bool:
    """Whether a file shows another one beside more, which was added to it.

    What most others are like is the source, unless it may be a part that was cut out.
    """
    view = pairs.view(source, row) if row != source else None
    if view is None or view.kind not in CONFIRMED or view.coverage < COVERED:
        return False
    is_as_large = COVERED <= view.resolution <= 1 / COVERED
    if view.shown >= COVERED or not is_as_large or pairs.votes(source, row, rows) <= CLEAR:
        return False
    is_recoloured = abs(view.chroma - view.kept_chroma) > RECOLOURED * max(view.chroma, view.kept_chroma, A_COLOUR)
    is_edit = is_recoloured or not pairs.may_be_cut_from(source, row)
    return is_edit and compare(pairs, row, source, rows).better == source


def _shows_all(pairs: Pairs, row: int, other: int) -> bool:
    view = pairs.view(other, row)
    return view is not None and view.coverage >= COVERED and view.hidden <= UNMARKED


def _shows_better(pairs: Pairs, other: int, keeper: int) -> bool:
    """Whether `other` shows the keeper's picture without its marks or at a higher resolution."""
    verdict = by_sight(pairs, keeper, other) if other != keeper else None
    return verdict is not None and verdict.better == other
