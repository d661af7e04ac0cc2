"""Measure how well duplicates are found, and compare: `make benchmark`.

DEDUP_DATA: dev/photos, dev/real, dev/lookalikes, camera  ->  tables, results/benchmark.json, two pictures in assets/

What the pictures show comes from the figures alone; the pictures measured on appear nowhere.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.finding import measure_finding
from benchmarks.goals import finder_table, goal_table, goals
from benchmarks.pictures import measure_lookalikes, measure_real, write_pairs
from dedup.encoder.inference import WEIGHTS_DIR
from dedup.evaluation.scores import Truth
from dedup.report.plots import plot_pair_curves, plot_recall_by_edit

PROJECT = Path(__file__).resolve().parent.parent
RESULTS = PROJECT / "benchmarks" / "results" / "benchmark.json"
SETS = ("synthetic", "real", "lookalikes", "camera")
DRAWN = ("this project", "imagededup PHash, 10 bits", "PDQ, 31 bits", "imagehash pHash, 5 bits")


def main(arguments: list[str] | None = None) -> int:
    options = read_options(arguments)
    data = data_folder()
    results = last_results(options.results)
    for name in options.sets:
        print(f"measuring: {name}", file=sys.stderr)
        results[name], pairs = measure(name, data, options)
        write_pairs([(name, *pair) for pair in pairs], options.build / f"to_look_at_{name}.csv")
    results = {"weights": weights_digest(), **{name: results[name] for name in SETS if name in results}}
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(
        json.dumps(results, indent=1, default=lambda number: number.item()) + "\n", encoding="utf-8"
    )
    if synthetic := results.get("synthetic"):
        draw(synthetic, options.pictures)
        print(*finder_table(synthetic), "", sep="\n")
    print(*goal_table(results), sep="\n")
    print(f"\npairs to look at: {options.build / 'to_look_at_*.csv'}")
    return int(not all(goal.met for goal in goals(results)))


def last_results(path: Path) -> dict:
    """What was measured before, with these weights."""
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return results if results.get("weights") == weights_digest() else {}


def read_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", dest="sets", nargs="+", choices=SETS, default=SETS, help="keep the other sets' last results")
    add("--build", type=Path, default=PROJECT / "build" / "benchmark", help="for made pictures and lists")
    add("--results", type=Path, default=RESULTS)
    add("--pictures", type=Path, default=PROJECT / "assets", help="folder for the two pictures")
    add("--seed", type=int, default=1)
    add("--originals", type=int, default=60)
    add("--distractors", type=int, default=360)
    return parser.parse_args(arguments)


def data_folder() -> Path:
    folder = Path(os.environ.get("DEDUP_DATA", ""))
    if not (folder / "dev" / "photos").is_dir():
        sys.exit("set DEDUP_DATA to the folder that holds dev/photos, dev/real, dev/lookalikes and camera")
    return folder.resolve()


def measure(name: str, data: Path, options: argparse.Namespace) -> tuple[dict, list]:
    """One set's results, and the pairs that want a look."""
    output = options.build / "output"
    if name == "synthetic":
        folder = make_folder(data, options)
        return measure_finding(folder / "images", Truth.read(folder / "truth.csv"), output), []
    if name == "real":
        return measure_real(data / "dev" / "real", output)
    return measure_lookalikes(data / "dev" / "lookalikes" if name == "lookalikes" else data / "camera", output)


def make_folder(data: Path, options: argparse.Namespace) -> Path:
    """The folder of copies with their truth; made when it isn't there yet."""
    folder = options.build / f"seed{options.seed}_{options.originals}_{options.distractors}"
    if not (folder / "truth.csv").exists():
        script = Path(os.environ.get("DEDUP_BENCH", data.parent / "bench")) / "make_benchmark.py"
        size = ["--originals", str(options.originals), "--distractors", str(options.distractors)]
        words = [sys.executable, script, data / "dev" / "photos", folder, "--seed", str(options.seed), *size]
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([*words, "--every-edit"], check=True)
    return folder


def weights_digest() -> str:
    """Which weights the figures are of."""
    return hashlib.sha256((WEIGHTS_DIR / "copydet.onnx").read_bytes()).hexdigest()[:16]


def draw(synthetic: dict, folder: Path) -> None:
    """The two pictures: precision over recall, and recall by edit."""
    curves = {name: (curve["recall"], curve["precision"]) for name, curve in synthetic["curves"].items()}
    ours = synthetic["scores"]["this project"]
    points = {"with confirmation": (ours["recall"], ours["precision"])}
    recalls = {name: synthetic["scores"][name]["recall_by_edit"] for name in DRAWN}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmark_curves.png").write_bytes(plot_pair_curves(curves, points).png())
    (folder / "benchmark_edits.png").write_bytes(plot_recall_by_edit(recalls).png())


if __name__ == "__main__":
    sys.exit(main())
