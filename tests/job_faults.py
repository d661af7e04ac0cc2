"""main.py in a process of its own, with a fault in one job. Requests come as lines of JSON, answers are exit codes.

A request is [function, harm, victim, log, what is said, arguments]. The function is `module:name`, or empty for none.
The log is given a line for each job that began: the function, a tab, and what the job is about. The fault is met by
those that are about the victim. All is imported once, and each request is run in a forked process.
"""

import ast
import ctypes
import functools
import importlib
import json
import os
import re
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))
PATIENCE = 4.0  # seconds by the clock for a job


def declared(decorator: str) -> list[str]:
    """All functions of the project that are decorated so, as `module:qualified name`."""
    found = []
    for path in sorted((PROJECT / "dedup").rglob("*.py")):
        module = ".".join(path.relative_to(PROJECT).with_suffix("").parts)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for holder in (tree, *(each for each in tree.body if isinstance(each, ast.ClassDef))):
            prefix = f"{holder.name}." if isinstance(holder, ast.ClassDef) else ""
            for each in holder.body:
                if isinstance(each, ast.FunctionDef) and decorator in map(ast.unparse, each.decorator_list):
                    found.append(f"{module}:{prefix}{each.name}")
    return found


def raise_error(error: BaseException) -> None:
    raise error


def harms() -> dict:
    import cv2
    import numpy as np

    return {
        "cv2.error": lambda: raise_error(cv2.error("planted")),
        "LinAlgError": lambda: raise_error(np.linalg.LinAlgError("planted")),
        "MemoryError": lambda: raise_error(MemoryError("planted")),
        "SIGSEGV": lambda: ctypes.string_at(0),
        "hang": lambda: time.sleep(600),
    }


def about(arguments: tuple, names: list[str]) -> str:
    """The files that a job is about, else its numbers."""
    text = repr(arguments)
    found = [name for name in names if f"/{name}'" in text]
    return "|".join(found) or re.sub(r"<.*?>", "", text)


def replaced(name: str, log: int, names: list[str], victim: str, harm) -> None:
    """Have a function note its jobs, and meet its fault."""
    from dedup import workers

    module, _, qualified = name.partition(":")
    *holders, last = qualified.split(".")
    holder = functools.reduce(getattr, holders, importlib.import_module(module))
    function = getattr(holder, last)

    @functools.wraps(function)
    def planted(*arguments, **named):
        what = about(arguments, names)
        os.write(log, f"{name}\t{what}\n".encode())
        if harm and what == victim:
            harm()
        return function(*arguments, **named)

    workers.job(planted)
    for each in [holder, *(each for name, each in sys.modules.items() if name.startswith("dedup."))]:
        if getattr(each, last, None) is function:
            setattr(each, last, planted)


class Encoder:
    """A few px of each square, in place of an encoder that takes seconds to load."""

    def __init__(self):
        from dedup.encoder.inference import About

        self.about = About(192, 32, 1.0, 1.0, "none")

    def encode(self, images):
        import numpy as np

        small = images.reshape(-1, 8, 4, 8, 4, 3).mean(axis=(2, 4)).reshape(-1, 192) - 127.3  # (b, 192)
        return (small / np.linalg.norm(small, axis=1, keepdims=True)).astype(np.float32)


def run(name: str, harm: str, victim: str, log: str, said: str, arguments: list[str]) -> int:
    """Run main.py in this process."""
    import main as program
    from dedup import pipeline, workers

    output = os.open(said, os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(output, stream)
    names, limit = sorted(os.listdir(arguments[0])), workers._Pool._limit
    workers._Pool._limit = lambda self, worker: min(PATIENCE, limit(self, worker)) if worker.ready else PATIENCE * 9
    pipeline.open_encoder = lambda name, embedding_size: Encoder()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for each in [*declared("job"), *declared("step")]:
        replaced(each, descriptor, names, victim, harms()[harm] if each == name else None)
    return program.main(arguments)


def serve() -> None:
    for each in (
        *declared("job"),
        *declared("step"),
        "main:",
        "dedup.report.page:",
        "dedup.deletion.removal:",
        "sklearn.cluster:",
    ):
        importlib.import_module(each.partition(":")[0])
    for line in sys.stdin:
        child = os.fork()
        if not child:
            code = 99
            try:
                code = run(*json.loads(line))
            finally:
                sys.stdout.flush()
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
