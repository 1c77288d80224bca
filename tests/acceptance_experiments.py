"""Experiments of the acceptance tests: each call leaves a line in `runs.txt` in the root.

Copied into a study's folder as `trial.py`.  What is not here: anything that sleeps for a
fixed time; whoever waits here waits for a file or a signal.
"""

# ruff: noqa: ARG001

from __future__ import annotations

import math
import os
import signal
import threading
from pathlib import Path
from typing import Any

from sqlqueue.experiments import Run


def _ran(what: object) -> None:
    """One write: lines of processes that run side by side do not mix."""
    with open("runs.txt", "a") as file:
        file.write(f"{what}\n")


def measure(
    seed: int = 42, width_factor: int = 1, dataset: str = "mnist", model_type: str = "cnn"
) -> dict[str, Any]:
    """Ends at once."""
    _ran(f"{width_factor}-{seed}")
    return {"mean_test_acc": 1 - 1 / (2 + width_factor), "mean_test_loss": 1 / (2 + width_factor)}


def other(seed: int) -> dict[str, Any]:
    """Measures something else than `measure`."""
    _ran(seed)
    return {"value": seed}


def wait(seed: int, run: Run, limit: int = 0) -> dict[str, Any]:
    """Says that it is there, reports, and ends when the file `go` is there."""
    _ran(seed)
    Path(f"started-{seed}").write_text(str(os.getpid()))
    pause = threading.Event()
    while not Path("go").exists():
        run.report(3, 7, loss=0.25)
        pause.wait(0.02)
    return {"value": seed * 10}


def fail(seed: int) -> dict[str, Any]:
    _ran(seed)
    print("these are its last words")
    raise ValueError(f"nothing can be learnt from {seed}")


def fail_unless_fixed(seed: int) -> dict[str, Any]:
    """All fail alike, until somebody has mended it."""
    _ran(seed)
    print(f"cell {seed}")
    if not Path("fixed").exists():
        raise KeyError("poison")
    return {"value": seed}


def speak_once(seed: int, run: Run) -> dict[str, Any]:
    """The first attempt speaks, waits for the file `go` and fails; the second one speaks too."""
    first = not (run.directory / "tried").exists()
    (run.directory / "tried").touch()
    print("the first attempt" if first else "the second attempt")
    Path(f"started-{seed}").write_text(str(os.getpid()))
    pause = threading.Event()
    while first and not Path("go").exists():
        pause.wait(0.02)
    if first:
        print("its last words")
        raise RuntimeError("the first time fails")
    return {"value": seed}


def fail_once(seed: int, run: Run) -> dict[str, Any]:
    _ran(seed)
    mark = run.directory / "tried"
    if not mark.exists():
        mark.touch()
        raise RuntimeError("the first time fails")
    return {"value": seed}


def fall(seed: int) -> dict[str, Any]:
    """Dies without a word."""
    _ran(seed)
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}


def hang(seed: int) -> dict[str, Any]:
    """Starts a process of its own and never ends, whatever it is told."""
    _ran(seed)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    grandchild = os.fork()
    if not grandchild:
        while True:
            signal.pause()
    Path(f"started-{seed}").write_text(f"{os.getpid()} {grandchild}")
    while True:
        signal.pause()


FLOATS = [0.1, 1 / 3, 1e-320, 1.7976931348623157e308, -2.5e-9, 123456789.123456789, -0.0]
TEXTS = [
    "plain",
    "naïve 模型 🙂",
    "a,b",
    'say "so"',
    "two\nlines\r\nand\ttabs",
    " spaced ",
    "a\u2028b",
]


def values(seed: int, label: str) -> dict[str, Any]:
    """Whatever a CSV may find hard."""
    _ran(seed)
    floats = {f"float_{number}": each for number, each in enumerate(FLOATS)}
    odd = {"loss": math.nan, "peak": math.inf, "trough": -math.inf, "none": None}
    return {**floats, **odd, "text": TEXTS[seed], "nested": {"a": {"b": [1, 2]}}, "flag": True}


def careful(seed: int, run: Run) -> dict[str, Any]:
    """Counts in its folder how often it was begun; told to stop, it saves once it may."""
    _ran(seed)
    kept = run.directory / "begun"
    begun = 1 + (len(kept.read_text()) if kept.exists() else 0)
    kept.write_text("x" * begun)
    Path(f"started-{seed}").write_text(str(os.getpid()))
    pause = threading.Event()
    while not Path("go").exists():
        if run.should_stop():
            Path(f"told-{seed}").touch()
            while not Path("save").exists():
                pause.wait(0.02)
            (run.directory / "saved").touch()
            return {}
        pause.wait(0.02)
    return {"begun": begun, "saved": (run.directory / "saved").exists()}


def linger(seed: int, size: int) -> dict[str, Any]:
    """Takes a time that grows with `size`."""
    _ran(size)
    threading.Event().wait(0.05 * size)
    return {"value": size}
