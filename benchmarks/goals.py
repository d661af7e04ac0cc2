"""What is to be reached, and the tables: results in, lines out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

LEAST_RECALL = {"exact": 1, "easy": 1, "medium": 0.99, "hard": 0.85}  # by level
HARDEST = 0.6  # the least recall of any single hard edit
# Other tools in the README's table.
IN_README = "PDQ, 31 bits", "imagehash pHash, 5 bits", "imagededup PHash, 10 bits"
HARD = "crop_hard mirror turn90 screenshot collage paste_in occlude perspective posterize".split()


@dataclass(frozen=True)
class Goal:
    """One line of the table. at_least : whether more is better; peers : least and most of IN_README"""

    name: str
    value: float
    goal: float
    at_least: bool = True
    peers: str = ""

    @property
    def met(self) -> bool:
        return self.value >= self.goal if self.at_least else self.value <= self.goal


def goals(results: dict) -> list[Goal]:
    """The whole table, of the sets that were measured."""
    found = []
    if synthetic := results.get("synthetic"):
        score, levels = synthetic["scores"]["this project"], synthetic["scores"]["this project"]["recall_by_level"]
        distances = synthetic["curves"]["encoder alone"]
        peers = {name: synthetic["scores"][name] for name in IN_README if name in synthetic["scores"]}

        def of_peers(name: str, level: str | None = None) -> str:
            return _range(peer[name][level] if level else peer[name] for peer in peers.values())

        curves = [synthetic["curves"][name.split(",")[0]]["average_precision"] for name in peers]
        found += [
            Goal("precision of the pairs", score["precision"], 0.9995, peers=of_peers("precision")),
            Goal("wrong removals", score["wrong_removals"], 0, False, of_peers("wrong_removals")),
            Goal("lost photos", score["lost_photos"], 0, False, of_peers("lost_photos")),
            *(
                Goal(f"recall {level}", levels[level], least, peers=of_peers("recall_by_level", level))
                for level, least in LEAST_RECALL.items()
            ),
            *(Goal(f"recall {edit}", score["recall_by_edit"][edit], HARDEST) for edit in HARD),
            Goal("F1 of the pairs", score["f1"], 0.95, peers=of_peers("f1")),
            Goal("encoder alone, AP", distances["average_precision"], 0.93, peers=_range(curves)),
            Goal("strangers a file at recall 0.95", distances["strangers"], 2.5, False),
            Goal("time with / without confirmation", synthetic["time_ratio"], 2, False),
        ]
        found += removal_goals(synthetic.get("removal", {}))
    if real := results.get("real"):
        found.append(Goal("real duplicates, F1", real["score"]["f1"], 0.97))
    for name in ("lookalikes", "camera"):
        if name in results:
            found.append(Goal(f"{name}, wrong pairs", unproven(results[name]), 0, False))
    if cases := results.get("cases"):
        found.append(Goal("cases that still go wrong", sum(bool(case["faults"]) for case in cases.values()), 0, False))
    return found


def _range(values: Iterable[float]) -> str:
    """The least and the most of some figures; empty where there are none."""
    if not (values := list(values)):
        return ""
    low, high = (f"{value:.3g}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def removal_goals(removal: dict) -> Iterator[Goal]:
    """What goes by default and with edits, by the truth's levels, and that nothing goes wrongly."""
    if not removal:
        return
    by_default, edits = removal["copies"], removal["edits"]
    copies = [by_default["levels"][level] for level in ("exact", "easy")]
    yield Goal("copies that go", sum(going for going, _ in copies) / sum(count for _, count in copies), 0.99)
    yield Goal(
        "edits that go by default", sum(by_default["levels"][level][0] for level in ("medium", "hard")), 0, False
    )
    yield Goal("with edits, share that goes", edits["going"] / sum(c for _, c in edits["levels"].values()), 0.58)
    for remove, found in removal.items():
        yield Goal(f"wrong or lost, {remove}", found["wrong"] + found["lost"], 0, False)


def unproven(counts: dict) -> int:
    """Pairs that were seen to be wrong, or not looked at yet."""
    return counts["pairs"] - counts.get("right", 0)


def goal_table(results: dict) -> Iterator[str]:
    yield f"{'measure':34} {'here':>8} {'goal':>10}  {'peers':14}"
    for goal in goals(results):
        wanted = f"{'>=' if goal.at_least else '<='} {goal.goal:g}"
        yield f"{goal.name:34} {goal.value:8.4g} {wanted:>10}  {goal.peers:14} {'met' if goal.met else 'NOT MET'}"


def finder_table(synthetic: dict) -> Iterator[str]:
    """Every finder, on the same files."""
    yield f"{'':40} precision  recall    F1  exact  easy  medium  hard  cluster F1  wrong removals  lost photos"
    for name, score in synthetic["scores"].items():
        levels = score["recall_by_level"]
        shares = [
            score["precision"],
            score["recall"],
            score["f1"],
            *(levels[k] for k in ("exact", "easy", "medium", "hard")),
        ]
        texts = [f"{share:.3f}" for share in (*shares, score["cluster_f1"])]
        widths = (9, 7, 5, 6, 5, 7, 5, 11)
        line = " ".join(text.rjust(width) for text, width in zip(texts, widths, strict=True))
        yield f"{name:40} {line} {score['wrong_removals']:15} {score['lost_photos']:12}"
    yield ""
    yield f"{'distances alone, all pairs':40} average precision  recall at 0.99  at 0.999  strangers a file"
    for name, curve in synthetic["curves"].items():
        recalls = f"{curve['recall_at_0.99']:15.3f} {curve['recall_at_0.999']:9.3f}"
        yield f"{name:40} {curve['average_precision']:17.3f} {recalls} {curve['strangers']:16.3g}"
