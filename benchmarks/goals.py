"""What is to be reached, and the tables: results in, lines out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

HARDEST = 0.6  # the least recall of any single hard edit
HARD = "crop_hard mirror turn90 screenshot collage paste_in occlude perspective posterize".split()


@dataclass(frozen=True)
class Goal:
    """One line of the table. at_least : whether more is better; best_peer : the best of PDQ, pHash and PHash"""

    name: str
    value: float
    goal: float
    at_least: bool = True
    best_peer: str = ""

    @property
    def met(self) -> bool:
        return self.value >= self.goal if self.at_least else self.value <= self.goal


def goals(results: dict) -> list[Goal]:
    """The whole table, of the sets that were measured."""
    found = []
    if synthetic := results.get("synthetic"):
        score, levels = synthetic["scores"]["this project"], synthetic["scores"]["this project"]["recall_by_level"]
        distances = synthetic["curves"]["encoder alone"]
        found += [
            Goal("precision of the pairs", score["precision"], 0.9995, best_peer="0.995 to 1.0"),
            Goal("wrong removals", score["wrong_removals"], 0, False, "0 to 29"),
            Goal("lost photos", score["lost_photos"], 0, False, "0 to 1"),
            Goal("recall exact", levels["exact"], 1, best_peer="1.0"),
            Goal("recall easy", levels["easy"], 1, best_peer="1.0"),
            Goal("recall medium", levels["medium"], 0.99, best_peer="0.81"),
            Goal("recall hard", levels["hard"], 0.85, best_peer="0.25"),
            *(Goal(f"recall {edit}", score["recall_by_edit"][edit], HARDEST) for edit in HARD),
            Goal("F1 of the pairs", score["f1"], 0.95, best_peer="0.67"),
            Goal("encoder alone, AP", distances["average_precision"], 0.93, True, "0.63"),
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
    yield f"{'measure':34} {'here':>8} {'goal':>10}  {'best peer':13}"
    for goal in goals(results):
        wanted = f"{'>=' if goal.at_least else '<='} {goal.goal:g}"
        yield f"{goal.name:34} {goal.value:8.4g} {wanted:>10}  {goal.best_peer:13} {'met' if goal.met else 'NOT MET'}"


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
