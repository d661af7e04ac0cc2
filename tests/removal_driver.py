"""One call of dedup.deletion.removal as a process of its own, for tests that kill it: ACTION ROOT PLAN [EVENT].

It exits with the outcome's code. A look at /removal-begins marks where start-up ends in a trace of its system calls.
"""

import contextlib
import gc
import os
import sys
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dedup.deletion import removal  # noqa: E402
from dedup.deletion.trash import Run  # noqa: E402


def decodes(path: Path) -> None:
    if not path.read_bytes().startswith(b"picture"):
        raise ValueError("not a picture")


def main(action: str, root: Path, plan: Path, event: str = "") -> int:
    if event == "edit keepers":  # once what is to be moved is verified and written down, so that it has to come back
        intend = Run.intend

        def edit(run, item):
            intend(run, item)
            with contextlib.suppress(FileNotFoundError):
                os.replace(plan.with_name(f"edited {item.keep.path.name}"), root / item.keep.path)

        Run.intend = edit
    gc.disable()
    with contextlib.suppress(OSError):
        os.stat("/removal-begins")
    if action == "apply":
        return removal.apply_plan(plan, root, decodes=decodes).exit_code
    if action == "undo":
        return removal.undo(root).exit_code
    return removal.purge(root, older_than=timedelta(0), decodes=decodes).exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:]))
