"""Experiments that misbehave towards the machine, the worker, or whoever reads their result.

Tests copy this file into the root of their queue.  What is not here: those that fail in the
ordinary ways (`experiments_for_tests.py`).
"""

# ruff: noqa: ARG001

from __future__ import annotations

import ctypes
import errno
import math
import os
import resource
import shutil
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlqueue.experiments import Run


def print_much(seed: int, megabytes: int, newlines: bool = True) -> dict[str, Any]:
    """A first line, much, and a last line."""
    os.write(1, b"the first words\n")
    block = (b"x" * 1023 + (b"\n" if newlines else b"x")) * 1024
    for _ in range(megabytes):
        os.write(1, block)
    os.write(1, b"\nthe last words\n")
    return {"megabytes": megabytes}


def print_no_text(seed: int) -> dict[str, Any]:
    os.write(1, bytes(range(256)) * 64)
    sys.stdout.write("lone \ud800 surrogate\x00")
    print(b"\xff\xfe".decode("latin-1"))
    return {"printed": True}


def print_into_full_disk(seed: int) -> dict[str, Any]:
    """The log takes no more: as on a full disk, and told by Python in the same way."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    for _ in range(100):
        print("x" * 100, flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return {"printed": True}


def leave_daemons(seed: int, count: int = 3) -> dict[str, Any]:
    """Daemons in sessions of their own that hold every descriptor, and never end."""
    for number in range(count):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                _never_end(f"daemon-{number}")
            os._exit(0)
        os.wait()
        while not (Path(f"daemon-{number}").exists() and Path(f"daemon-{number}").read_text()):
            threading.Event().wait(0.01)
    return {"daemons": count}


def _never_end(name: str) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    Path(name).write_text(str(os.getpid()))
    while True:
        signal.pause()


def leave_daemons_and_die(seed: int, number: int = 9) -> dict[str, Any]:
    leave_daemons(seed)
    os.kill(os.getpid(), number)
    return {}


def leave_daemons_and_wait(seed: int) -> dict[str, Any]:
    leave_daemons(seed)
    Path(f"started-{seed}").write_text(str(os.getpid()))
    while True:
        signal.pause()


def fork_for_ever(seed: int) -> dict[str, Any]:
    """Each process begins another one and ends: nobody holds still to be killed."""
    Path(f"started-{seed}").write_text(str(os.getpid()))
    if os.fork() == 0:
        for _ in range(100_000):
            if os.fork():
                os._exit(0)
            os.setsid()
    while True:
        signal.pause()


def kill_own_group(seed: int) -> dict[str, Any]:
    leave_daemons(seed, 1)
    os.killpg(0, signal.SIGKILL)
    return {}


def kill_the_guard(seed: int) -> dict[str, Any]:
    os.kill(os.getppid(), signal.SIGKILL)
    while True:
        signal.pause()


def stop_itself(seed: int) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGSTOP)
    return {"woken": True}


def ignore_every_signal(seed: int) -> dict[str, Any]:
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        signal.signal(number, signal.SIG_IGN)
    threading.Event().wait()
    return {}


def garbage_on_every_pipe(seed: int, megabytes: int = 0) -> dict[str, Any]:
    """Into whatever pipe is open: not lines, not JSON, not notices, and one without an end."""
    lines = [
        b"\xff\xfe\n", b"{}\n", b"[]\n", b"null\n", b'{"type": "ended"}\n', b"[" * 100_000 + b"\n",
        b'{"type": "progress", "step": "x", "total": [], "metrics": 1}\n', b"\n" * 1000,
        b"y" * (megabytes << 20) + b"\n",
    ]  # fmt: skip
    for fd in _pipes():
        for line in lines:
            _write(fd, line)
    return {"written": True}


def _pipes() -> list[int]:
    found = [int(each.name) for each in Path("/proc/self/fd").iterdir() if int(each.name) > 2]
    return [fd for fd in found if _is_pipe(fd)]


def _is_pipe(fd: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False


def _write(fd: int, data: bytes) -> None:
    try:
        while data:
            data = data[os.write(fd, data) :]
    except OSError as error:
        if error.errno != errno.EBADF:
            raise


def remove_folders(seed: int) -> dict[str, Any]:
    """Everything of the attempt's own, while it runs: its log, its folders, where it stands."""
    gone, home = Path("gone").absolute(), Path(".sqlqueue").absolute()
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    print("before the log is gone")
    for each in home.iterdir():
        if each.is_dir() and each.name != "workers":
            shutil.rmtree(each)
        elif each.suffix == ".log":
            each.unlink()
    print("after")
    return {"removed": True}


def remove_log_and_print(seed: int, run: Run, megabytes: int) -> dict[str, Any]:
    """What fills a disk without a name must be bounded too; says how much it is."""
    print("begins", flush=True)
    Path(f"/proc/self/fd/{1}").readlink().unlink()
    print_much(seed, megabytes)
    pause = threading.Event()
    while os.fstat(1).st_size > 32 << 20 and not run.should_stop():
        pause.wait(0.05)
    return {"left": os.fstat(1).st_size}


def eat_memory(seed: int, limit: int = 0) -> dict[str, Any]:
    """Until Python says no (with a limit), or the kernel does."""
    if limit:
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    held = []
    while True:
        held.append(b"x" * (8 << 20))


def score(seed: int) -> dict[str, Any]:
    return {"score": int(Path("/proc/self/oom_score_adj").read_text())}


class Hostile:
    """Nothing can be learnt of it."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    __str__ = __repr__

    def __hash__(self) -> int:
        return 7

    def __eq__(self, other: object) -> bool:
        return self is other

    def __float__(self) -> float:
        raise RuntimeError("no number")


class HostileError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class HostileDict(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("no items")


class Endless(dict[str, Any]):
    """More items than any memory holds."""

    def items(self) -> Any:
        return self._items()

    def _items(self) -> Iterator[tuple[str, int]]:
        number = 0
        while True:
            number += 1
            yield f"metric-{number}", number


class Quitting:
    def __str__(self) -> str:
        sys.exit(4)


def strange_metrics(seed: int) -> dict[Any, Any]:
    circle: list[Any] = [1]
    circle.append(circle)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    return {
        "hostile": Hostile(), "int": 10**5000, "float": 1e308 * 10, "circle": circle, "deep": deep,
        math.nan: 1, None: 2, (1, 2): 3, Hostile(): 4, 7: 5, "7": 6, b"bytes": 7, "": 8,
        "lone \ud800": "\udfff", "shared": [[[0] * 10] * 10] * 10,
    }  # fmt: skip


def strange_returns(seed: int, kind: str) -> Any:
    return {
        "hostile": Hostile(), "dict": HostileDict(a=1), "number": 3, "text": "a" * 10**6,
        "class": dict, "list": [1], "quit": {"a": Quitting()}, "endless": Endless(a=1),
    }[kind]  # fmt: skip


def strange_errors(seed: int, kind: str) -> dict[str, Any]:
    if kind == "exit":
        sys.exit(Hostile())  # type: ignore[arg-type]
    if kind == "group":
        raise ExceptionGroup("many", [ValueError("one"), HostileError()])
    raise {
        "hostile": HostileError(), "long": ValueError("x" * 10**7), "generator": GeneratorExit(),
        "interrupt": KeyboardInterrupt(), "surrogate": ValueError("\ud800"),
    }[kind]  # fmt: skip


def many_metrics(seed: int, count: int, size: int = 1) -> dict[str, Any]:
    return {f"metric-{number:07d}": "x" * size for number in range(count)}


def large_metric(seed: int, megabytes: int) -> dict[str, Any]:
    return {"acc": 0.5, "large": "x" * (megabytes << 20)}


def crash_at_the_end(seed: int) -> dict[str, Any]:
    """Fine until the interpreter ends: what is registered then crashes."""
    import atexit

    atexit.register(ctypes.string_at, 0)
    threading.Thread(target=threading.Event().wait, name="left-over").start()
    return {"acc": 0.5}


def gated(seed: int, where: str, run: Run) -> dict[str, Any]:
    """Waits for the file `go`, and prints a lot; its row does not fit into the rest of a block."""
    print("before\n" * 5000)
    Path(f"started-{where}-{seed}").touch()
    pause = threading.Event()
    while not Path("go").exists():
        if run.should_stop():
            return {}
        pause.wait(0.02)
    print("after\n" * 5000)
    return {"padding": "x" * 5000}


def start_others_and_wait(seed: int) -> dict[str, Any]:
    """A program, and one in a session of its own with nothing of our environment."""
    import subprocess

    program = [sys.executable, "-c", "import signal; signal.pause()"]
    others = [subprocess.Popen(program, start_new_session=away, env=environment)
              for away, environment in ((False, None), (True, None), (True, {}))]  # fmt: skip
    whose = [os.getppid(), os.getpid(), *(each.pid for each in others)]
    Path(f"family-{seed}").write_text(" ".join(map(str, whose)) + "\n")
    return {"status": others[0].wait()}


def fork_deeper(seed: int) -> dict[str, Any]:
    """Five lines of descent, each generation in a session of its own; all wait."""
    Path(f"started-{seed}").write_text(str(os.getpid()))
    for _ in range(5):
        if os.fork() == 0:
            for _ in range(60):
                if os.fork():
                    break
                os.setsid()
            break
    while True:
        signal.pause()
