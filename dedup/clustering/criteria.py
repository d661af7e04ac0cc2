"""Which of two files that show one picture should stay, and what decides: two rows in, a Verdict out.

In this order: what a file shows, its pixels where both show the same, a folder that is preferred, the proportions and
the place of most others (each edit departs from the original), a tone, compression, metadata, age, path.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from dedup.clustering.jpeg_steps import COARSE
from dedup.clustering.members import COVERED, FADED, UNMARKED, View
from dedup.clustering.pairs import AS_NEAR, Pairs
from dedup.words import count_of

SAME_PLACE = 0.01  # difference of mean cosine distances that says nothing
SAME_SHAPE, CLEAR = 1.03, 0.1  # ratio of proportions that is no stretching; share of votes that is no chance
A_TINGE = 1.0  # mean chroma (CIELAB) of a picture that is not quite grey
NO_CHANCE = 1.1  # ratio of quantisation steps, or of bits per pixel, that is no chance
OTHER_FORMAT = 1.5  # ratio of bits per pixel that is none between formats: WebP needs two thirds of a JPEG's
# what decides, in order
SHOWS, COLOURS, CLEAN, PIXELS, FOLDER, SHAPE, PLACE, COMPRESSION, METADATA, VOTES, AGE, NAME = range(12)
COPIED = re.compile(r"copy|copie|copia|cópia|kopie|コピー|副本|\(\d+\)$", re.IGNORECASE)  # in what systems name copies
NEAREST, SOURCE = "nearest to the others", "the other was saved again from it"


class Verdict(NamedTuple):
    """One of two files is better. rank : of the criterion that decided, the later the more alike they are"""

    rank: int
    better: int
    why: str


def compare(pairs: Pairs, one: int, other: int, rows: Sequence[int]) -> Verdict:
    """Say which of two of the rows, which show the same, should stay, and what decides."""
    if pairs.view(one, other) is None:
        pairs.match_all([(one, other)])
    return (
        _without_traces(pairs, one, other, rows)
        or _by_making(pairs, one, other)
        or _by_metadata(pairs, one, other)
        or _by_votes(pairs, one, other, rows)
        or _by_compression(pairs, one, other)
        or _by_age(pairs, one, other)
    )


def enlargements_wanted(pairs: Pairs, one: int, other: int) -> list[tuple[int, int]]:
    """What `compare` of two rows asks `Pairs.is_enlarged` first: the larger and the smaller, or nothing."""
    larger = _larger(pairs, one, other)[0] if pairs.view(one, other) is not None else None
    return [] if larger is None else [(larger, one + other - larger)]


def traces_wanted(pairs: Pairs, one: int, other: int, rows: Sequence[int]) -> list[tuple[int, int]]:
    """What `compare` of two matched rows asks `Pairs.how_made` first: the finer and the coarser, or nothing."""
    is_open = pairs.view(one, other) is not None and not _without_traces(pairs, one, other, rows)
    return [_by_fineness(pairs, one, other)] if is_open else []


def _without_traces(pairs: Pairs, one: int, other: int, rows: Sequence[int]) -> Verdict | None:
    return (
        by_sight(pairs, one, other)
        or _by_folder(pairs, one, other)
        or _by_shape(pairs, one, other, rows)
        or _by_place(pairs, one, other, rows)
        or _by_colours(pairs.view(one, other), one, other)
    )


def by_share(view: View | None, keeper: int, row: int) -> Verdict | None:
    """What only one of two files shows all of."""
    if view is None or view.kind == "similar" or view.coverage < COVERED or view.shown >= COVERED:
        return None
    return Verdict(SHOWS, keeper, f"shows {_times(1 / max(view.shown, 0.01))} as much")


def by_sight(pairs: Pairs, one: int, other: int) -> Verdict | None:
    """Colours, marks or pixels; pixels where the larger is the one in grey or with marks.

    A tone laid over greys, as sepia is, shows nothing. In a file of the same size nothing is larger but by being cut.
    """
    view = pairs.view(one, other)
    if view is None:
        return None
    larger, times = _larger(pairs, one, other)
    if larger is not None and pairs.is_enlarged(larger, one + other - larger):
        return Verdict(PIXELS, one + other - larger, "the larger one is an enlargement")
    verdict = _by_colours(view, one, other)
    if verdict is None or pairs.is_toned(verdict.better):
        verdict = _by_marks(view, one, other)
    if larger is None or (verdict and verdict.better == larger):
        return verdict
    return Verdict(PIXELS, larger, f"{_times(times**2)} the pixels")


def _larger(pairs: Pairs, one: int, other: int) -> tuple[int | None, float]:
    """The one of two matched rows that has more px for what both show, and how many along a side; None if neither."""
    ratios = {other: pairs.view(one, other).resolution, one: pairs.view(other, one).resolution}
    larger = next((row for row, ratio in ratios.items() if ratio > 1 / COVERED), None)
    return (None, 1.0) if larger is None or pairs.are_of_one_size(one, other) else (larger, ratios[larger])


def _by_colours(view: View | None, one: int, other: int) -> Verdict | None:
    if view is None:
        return None
    chromas = {one: view.chroma, other: view.kept_chroma}
    grey, coloured = sorted(chromas, key=chromas.get)
    is_lost = chromas[coloured] > A_TINGE and chromas[grey] < FADED * chromas[coloured]
    return Verdict(COLOURS, coloured, "has colours") if is_lost else None


def _by_marks(view: View, one: int, other: int) -> Verdict | None:
    if abs(view.marks - view.hidden) <= UNMARKED:
        return None
    return Verdict(CLEAN, other if view.marks > view.hidden else one, "has no marks on it")


def _by_folder(pairs: Pairs, one: int, other: int) -> Verdict | None:
    first, second = pairs.preferred(one), pairs.preferred(other)
    return None if bool(first) == bool(second) else Verdict(FOLDER, one if first else other, first or second)


def _by_shape(pairs: Pairs, one: int, other: int, rows: Sequence[int]) -> Verdict | None:
    """A stretched copy is one that has other proportions than most files."""
    shapes = {row: pairs.sizes[row, 0] / max(pairs.sizes[row, 1], 1) for row in rows}
    like = {row: sum(_are_near(shapes[row], shape, SAME_SHAPE) for shape in shapes.values()) for row in (one, other)}
    if _are_near(shapes[one], shapes[other], SAME_SHAPE) or like[one] == like[other]:
        return None
    return Verdict(SHAPE, max(like, key=like.get), "has the proportions of most others")


def _by_place(pairs: Pairs, one: int, other: int, rows: Sequence[int]) -> Verdict | None:
    means = pairs.means(rows)
    if abs(means[one] - means[other]) <= SAME_PLACE:
        return None
    nearer, farther = sorted((one, other), key=means.get)
    return Verdict(PLACE, nearer, f"{NEAREST}, {means[nearer]:.3f} on average, not {means[farther]:.3f}")


def _by_votes(pairs: Pairs, one: int, other: int, rows: Sequence[int]) -> Verdict | None:
    """The one that more files are near to, each edit being one of its own."""
    made = {pairs.how_made(one, other), pairs.how_made(other, one)}
    if "alike" in made:
        return None
    if made == {""} and pairs.are_laid_alike(one, other) and (verdict := _by_compression(pairs, one, other)):
        return verdict
    votes, clear = pairs.votes(one, other, rows), 0.0 if "edited" in made else CLEAR
    if abs(votes) > clear:
        return Verdict(VOTES, one if votes > 0 else other, "nearer to more of the others")
    means = pairs.means(rows)
    if "edited" not in made or abs(means[one] - means[other]) <= AS_NEAR:
        return None
    return Verdict(VOTES, min(one, other, key=means.get), NEAREST)


def _by_making(pairs: Pairs, one: int, other: int) -> Verdict | None:
    """Compression, where it is all that sets two files apart."""
    view, first, second = pairs.view(one, other), pairs.details(one), pairs.details(other)
    finer, coarser = _by_fineness(pairs, one, other)
    if view and view.kind == "same_pixels" and first.lossless != second.lossless:
        return Verdict(COMPRESSION, coarser, SOURCE)  # what can hold all was made from what can not
    made = pairs.how_made(finer, coarser)
    if not (first.lossless or second.lossless or (first.step and second.step)):
        chance = OTHER_FORMAT if first.step or second.step else NO_CHANCE
        by_bits = _by_bits(one, other, first.bits / max(second.bits, 1e-6), chance)
        better = {"saved again": coarser, "compressed": finer}.get(made)
        return by_bits if better is None else Verdict(COMPRESSION, better, SOURCE)
    if made == "saved again":
        return Verdict(COMPRESSION, coarser, SOURCE)
    return Verdict(COMPRESSION, finer, _how_fine(pairs, finer, coarser)) if made == "compressed" else None


def _by_fineness(pairs: Pairs, one: int, other: int) -> tuple[int, int]:
    """The less compressed of two rows, and the other."""
    first, second = pairs.details(one), pairs.details(other)
    is_finer = (not first.lossless, first.step) < (not second.lossless, second.step)
    return (one, other) if is_finer else (other, one)


def _by_compression(pairs: Pairs, one: int, other: int) -> Verdict | None:
    """Compression as far as headers tell: of lossy files, those that tell their steps.

    An edit is often saved finer than what it was made from; where that is fine enough to hide it, this tells nothing.
    """
    first, second = pairs.details(one), pairs.details(other)
    if 0 < max(first.step, second.step) < COARSE and pairs.is_edit(one, other):
        return None
    if first.lossless != second.lossless:
        finer, coarser = (one, other) if first.lossless else (other, one)
    elif not first.step or not second.step or _are_near(first.step, second.step, NO_CHANCE):
        return None
    else:
        finer, coarser = (one, other) if first.step < second.step else (other, one)
    return Verdict(COMPRESSION, finer, _how_fine(pairs, finer, coarser))


def _how_fine(pairs: Pairs, finer: int, coarser: int) -> str:
    first, second = pairs.details(finer), pairs.details(coarser)
    return "saved without loss" if first.lossless else f"compressed {_times(second.step / first.step)} finer"


def _by_bits(one: int, other: int, ratio: float, chance: float) -> Verdict | None:
    if _are_near(ratio, 1, chance):
        return None
    more = max(ratio, 1 / max(ratio, 0.01))
    return Verdict(COMPRESSION, one if ratio > 1 else other, f"{_times(more)} the bits per pixel")


def _by_metadata(pairs: Pairs, one: int, other: int) -> Verdict | None:
    first, second = pairs.details(one).metadata, pairs.details(other).metadata
    if len(first) == len(second):
        return None
    better, more = (one, first - second) if len(first) > len(second) else (other, second - first)
    return Verdict(METADATA, better, f"has the {' and '.join(sorted(more))}")


def _by_age(pairs: Pairs, one: int, other: int) -> Verdict:
    ages = {row: pairs.file(row)[1] for row in (one, other)}
    older, younger = sorted(ages, key=lambda row: (ages[row], row))
    apart = ages[younger] - ages[older]
    if not apart:
        said = [row for row in (one, other) if COPIED.search(pairs.paths[row].stem)]
        if len(said) == 1:
            return Verdict(NAME, one if said == [other] else other, "the other is named a copy")
        return Verdict(NAME, older, "first by name")
    return Verdict(AGE, older, f"older by {_duration(apart // 10**9)}")


def _duration(seconds: int) -> str:
    """In the largest unit that it is at least one of."""
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds >= length:
            return count_of(seconds // length, unit)
    return "less than a second"


def _are_near(first: float, second: float, ratio: float) -> bool:
    return max(first, second) <= ratio * min(first, second)


def _times(ratio: float) -> str:
    return f"{ratio:.1f}x" if ratio < 9.95 else f"{ratio:.0f}x"
