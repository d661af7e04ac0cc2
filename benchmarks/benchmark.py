"""Measure how well duplicates are found, and compare: `make benchmark`.

DEDUP_DATA: dev/photos, dev/real, dev/lookalikes, camera; cases beside it  ->  tables, results/benchmark.json

The pictures measured on appear nowhere; 05_benchmark draws the figures.
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

PROJECT = Path(__file__).resolve().parent.parent
RESULTS = PROJECT / "benchmarks" / "results" / "benchmark.json"
SETS = ("synthetic", "real", "lookalikes", "camera", "cases")


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
    if name == "cases":
        return measure_cases(data.parent / "cases", data), []
    return measure_lookalikes(data / "dev" / "lookalikes" if name == "lookalikes" else data / "camera", output)


def measure_cases(cases: Path, data: Path) -> dict[str, dict]:
    """Small folders that went wrong before: by name, why they did, and what is wrong with them now."""
    words = [sys.executable, script_beside(data, "run_cases.py"), cases, "--project", PROJECT, "--json"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stderr)
    faults = json.loads(done.stdout.splitlines()[-2])
    whys = {name: json.loads((cases / name / "expect.json").read_text(encoding="utf-8"))["why"] for name in faults}
    return {name: {"why": whys[name], "faults": found} for name, found in faults.items()}


def script_beside(data: Path, name: str) -> Path:
    """A program of the folder `bench` beside the data."""
    return Path(os.environ.get("DEDUP_BENCH", data.parent / "bench")) / name


def make_folder(data: Path, options: argparse.Namespace) -> Path:
    """The folder of copies with their truth; made when it isn't there yet."""
    folder = options.build / f"seed{options.seed}_{options.originals}_{options.distractors}"
    if not (folder / "truth.csv").exists():
        size = ["--originals", str(options.originals), "--distractors", str(options.distractors)]
        words = [
            sys.executable,
            script_beside(data, "make_benchmark.py"),
            data / "dev" / "photos",
            folder,
            "--seed",
            str(options.seed),
            *size,
        ]
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([*words, "--every-edit"], check=True)
    return folder


def weights_digest() -> str:
    """Which weights the figures are of."""
    return hashlib.sha256((WEIGHTS_DIR / "copydet.onnx").read_bytes()).hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
