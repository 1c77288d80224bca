"""Small Python-function experiments: the well-behaved, and every kind of misbehaviour.

Tests copy this file into the root of their queue.  What is not here: anything that
sleeps for a fixed time; whoever waits here waits for a signal, a file or its end.
"""

# ruff: noqa: ARG001

from __future__ import annotations

import ctypes
import gc
import math
import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from sqlqueue.experiments import Run

CALLS: list[int] = []


def add(seed: int, a: float = 1.0, b: float = 2.0) -> dict[str, Any]:
    """Ends at once."""
    return {"total": a + b + seed, "pid": os.getpid()}


def diverge(seed: int) -> dict[str, Any]:
    return {"loss": math.nan, "peak": math.inf, "seed_seen": seed}


def count(seed: int) -> dict[str, Any]:
    """How often this process has run it: tells a warm child from a new one."""
    CALLS.append(seed)
    return {"calls": len(CALLS), "pid": os.getpid()}


def note(seed: int) -> dict[str, Any]:
    """Leaves a line for each time that it is run; returns once the gate of its eight is open."""
    with Path("notes").open("a") as notes:
        notes.write(f"{seed}\n")
    while not Path(f"gate{seed // 8}").exists():
        threading.Event().wait(0.02)
    return {"noted": True}


def say(seed: int, lines: int = 1) -> dict[str, Any]:
    for number in range(lines):
        print(f"line {number} of {seed}")
    print("to stderr", file=sys.stderr)
    os.write(1, b"straight to the descriptor\n")
    return {"lines": lines}


def shout(seed: int, megabytes: int) -> dict[str, Any]:
    for _ in range(megabytes * 16):
        sys.stdout.write("x" * 65535 + "\n")
    return {"megabytes": megabytes}


def surroundings(seed: int) -> dict[str, Any]:
    print("printed again")
    return {
        "cwd": str(Path.cwd()),
        "mark": os.environ.get("SPOILED", ""),
        "path": os.environ.get("PATH", ""),
        "umask": oct(os.umask(0o022)),
        "stdin": sys.stdin.read() if sys.stdin else "",
    }


def spoil(seed: int) -> dict[str, Any]:
    """Leaves the process in a bad way, although it returns."""
    os.chdir("/")
    os.environ["SPOILED"] = "yes"
    del os.environ["PATH"]
    os.umask(0o777)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdout.close()
    os.close(1)
    return {"spoiled": True}


def leave_thread(seed: int) -> dict[str, Any]:
    threading.Thread(target=threading.Event().wait, name="left-over").start()
    return {"pid": os.getpid()}


def leave_thread_and_no_log(seed: int) -> dict[str, Any]:
    """As on a full disk: nothing can be written any more, and a thread goes on."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    return leave_thread(seed)


def boom(seed: int) -> dict[str, Any]:
    print("before the end")
    raise ValueError(f"no luck with {seed}")


def flaky(seed: int, run: Run) -> dict[str, Any]:
    """Fails the first time, and remembers it in its directory."""
    mark = run.directory / "tried"
    if not mark.exists():
        mark.touch()
        raise RuntimeError("the first time fails")
    return {"ok": True}


def hungry(seed: int) -> dict[str, Any]:
    raise MemoryError("no more")


class OutOfMemoryError(RuntimeError):
    """Named like torch's."""


def cuda_hungry(seed: int) -> dict[str, Any]:
    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def leave(seed: int, status: int = 3) -> dict[str, Any]:
    sys.exit(status)


def leave_now(seed: int, status: int = 5) -> dict[str, Any]:
    print("last words", flush=True)
    os._exit(status)


def segfault(seed: int) -> dict[str, Any]:
    ctypes.string_at(0)
    return {}


def kill_self(seed: int, number: int = 9) -> dict[str, Any]:
    os.kill(os.getpid(), number)
    return {}


def nothing(seed: int) -> Any:
    return None


def huge(seed: int) -> dict[str, Any]:
    return {"acc": 0.5, "predictions": list(range(2_000_000))}


def close_everything(seed: int) -> dict[str, Any]:
    os.closerange(0, 64)
    return {"closed": True}


def take_descriptors(seed: int) -> dict[str, Any]:
    """Closes what it does not know, and uses the numbers for files of its own."""
    os.closerange(3, 64)
    for _ in range(40):
        os.open("mine", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    return {"taken": True}


def fork_twin(seed: int) -> dict[str, Any]:
    """Both the child and its copy return; only one of them is the attempt."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    return {"twin": pid == 0}


def wait_for_file(seed: int, run: Run, name: str = "go") -> dict[str, Any]:
    """Says that it is there, then waits for the file, heeding `should_stop`."""
    Path(f"started-{seed}").write_text(str(os.getpid()))
    pause = threading.Event()
    while not Path(name).exists():
        if run.should_stop():
            Path(f"stopped-{seed}").touch()
            return {"partial": True}
        run.report(1, 2, loss=0.5)
        pause.wait(0.02)
    return {"seed_seen": seed}


def stubborn(seed: int) -> dict[str, Any]:
    """Ignores SIGTERM, starts a process of its own, and never ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    grandchild = os.fork()
    if grandchild == 0:
        signal.pause()
    Path(f"started-{seed}").write_text(f"{os.getpid()} {grandchild}")
    while True:
        signal.pause()


def finish_when_told(seed: int) -> dict[str, Any]:
    """Never asks whether it should stop, and completes soon after it was told to."""
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    Path(f"started-{seed}").write_text(str(os.getpid()))
    told.wait()
    return {"whole": True}


def progress(seed: int, run: Run) -> dict[str, Any]:
    for step in range(1000):
        run.report(step, 1000, loss=math.nan, other=object())
    return {"device": run.device, "run_seed": run.seed, "directory": str(run.directory)}


class Left:
    """What an attempt leaves in a ring, as a network with hooks does."""

    alive = 0

    def __init__(self) -> None:
        self.me = self
        Left.alive += 1

    def __del__(self) -> None:
        Left.alive -= 1


def leaves_a_ring(seed: int) -> dict[str, Any]:
    found = {"left_by_others": Left.alive, "spared": gc.get_freeze_count()}
    gc.disable()
    Left()
    return found
