"""Where the time of a first run goes: `python -m benchmarks.phases FOLDER`.

A folder of pictures  ->  what `main.py --timing` tells of it, and what confirmation costs
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.folders import folder_given

PROJECT = Path(__file__).parent.parent
ROW = re.compile(r"^\| (.+?) \| ([\d.]+) s \|", re.MULTILINE)


def main() -> int:
    folder = folder_given(__doc__)
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, PROJECT / "main.py", folder, "--output", output, "--quiet", "--timing"]
        done = subprocess.run(command, capture_output=True, text=True)
    print(done.stderr, end="")
    if done.returncode:
        return done.returncode
    seconds = {name: float(clock) for name, clock in ROW.findall(done.stderr)}
    confirming, whole = seconds["Confirming"], seconds["in all"]
    times = whole / (whole - confirming)
    print(f"confirming candidates takes {confirming:.1f} s, and makes the run {times:.2f} times as long")
    return 0


if __name__ == "__main__":
    sys.exit(main())
