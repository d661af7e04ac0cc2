"""Measure time and memory beside other programs, all in one run: `make bench`.

DEDUP_DATA: dev/photos, train, camera  ->  a table, results/speed.json with the machine, results/growth.png
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.benchmark import PROJECT, data_folder, make_folder
from benchmarks.processes import Failed
from benchmarks.rows import ROWS, Bench, Row

FAST = {"AVX2": "avx2", "AVX-512": "avx512f", "bfloat16": "avx512_bf16", "VNNI": "avx512_vnni"}  # as Linux calls them
RESULTS = PROJECT / "benchmarks" / "results"


def main(arguments: list[str] | None = None) -> int:
    options = read_options(arguments)
    data = data_folder()
    options.build.mkdir(parents=True, exist_ok=True)
    bench = Bench(data, options.build, options.repeats, lambda: make_folder(data, options) / "images")
    rows: list[Row] = []
    for name in options.only:
        print(f"measuring: {name}", file=sys.stderr)
        try:
            rows += ROWS[name](bench)
        except Failed as error:
            rows.append(Row(name, None, None, None, 0.0, f"could not be measured: {error}"))
    machine = describe_machine()
    print(*table(rows), "", ", ".join(f"{key} {value}" for key, value in machine.items()), sep="\n")
    save(rows, machine, options.results)
    return int(not all(row.met for row in rows))


def read_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=f"of {', '.join(ROWS)}")
    add("--repeats", type=int, default=3, help="runs of short ones, of which the fastest counts")
    add("--build", type=Path, default=PROJECT / "build" / "bench", help="for made pictures and other programs")
    add("--results", type=Path, default=RESULTS, help="folder for speed.json and growth.png")
    parser.set_defaults(seed=1, originals=60, distractors=360)
    return parser.parse_args(arguments)


def table(rows: list[Row]) -> list[str]:
    """Lines of a Markdown table."""
    lines = ["| what / against what | here | against | ratio | goal | |", "|---|---:|---:|---:|---:|---|"]
    for row in rows:
        cells = row.name, _amount(row.value), _amount(row.against), _ratio(row.ratio), f"<= {row.goal:g}"
        lines.append(f"| {' | '.join(cells)} | {'; '.join(filter(None, (_verdict(row), row.note)))} |")
    return lines


def _verdict(row: Row) -> str:
    return "" if row.ratio is None else "met" if row.met else "NOT MET"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _amount(value: float | None) -> str:
    """Seconds, or bytes where there are millions."""
    if value is None:
        return "-"
    return f"{value / 1e9:.2f} GB" if value > 1e6 else f"{value:.1f} s"


def describe_machine() -> dict[str, str]:
    """What the figures hold for."""
    import torch

    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        told = ""
    found = re.search(r"model name\s*: (.*)", told)
    has = [name for name, flag in FAST.items() if re.search(rf"\b{flag}\b", told)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": found[1] if found else platform.processor(),
        "has": ", ".join(has) or "unknown",
        "cores": str(cores),
        "load": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown",
        "system": platform.system(),
        "Python": platform.python_version(),
        "torch": torch.__version__,
    }


def save(rows: list[Row], machine: dict[str, str], folder: Path) -> None:
    """Keep the figures, in place of those of rows of the same name, and draw how time grows."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "speed.json"
    kept = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else {}
    kept |= {row.name: asdict(row) | {"machine": machine} for row in rows}
    path.write_text(json.dumps({"rows": kept}, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        if row.curve:
            (folder / "growth.png").write_bytes(draw_growth(row.curve))


def draw_growth(seconds: dict[int, float]) -> bytes:
    """PNG: seconds over images, beside a line that grows as they do."""
    import io

    from matplotlib.figure import Figure

    counts = sorted(seconds)
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(counts, [seconds[count] for count in counts], "o-", label="measured")
    even = [seconds[counts[0]] * count / counts[0] for count in counts]
    axes.plot(counts, even, "--", color="grey", label="in proportion")
    axes.set(xlabel="images", ylabel="seconds, whole run", xlim=(0, None), ylim=(0, None))
    axes.legend()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120, metadata={"Software": None})
    return stream.getvalue()


if __name__ == "__main__":
    sys.exit(main())
