"""SQLite and the packages: are they there, of versions that work, and do they load.

Promises: torch is loaded in a process of its own, with a time limit.  What is not here: GPUs
in use.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from typing import Any, Final

from sqlqueue.doctor.finding import NOTE, WARNING, Finding, kind

LOAD_SECONDS: Final = 60.0
REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)\s*>=\s*([0-9.]+)\s*(;.*)?")
LOAD: Final = """
import json, sys
told = {}
try:
    import torch
    told["torch"] = torch.__version__
    told["built"] = torch.version.cuda
    told["works"] = bool(torch.cuda.is_available())
    import torchvision
except BaseException as error:
    told["error"] = f"{type(error).__name__}: {error}"
json.dump(told, sys.stdout)
"""

SQLITE = kind(
    "sqlite-library", WARNING, "this Python's SQLite is of a bad version",
    "the queue is an SQLite database", cure="use a Python with a newer SQLite",
)  # fmt: skip
PACKAGE = kind(
    "package-version", WARNING, "a package is missing or too old",
    "sqlqueue was not tested with that", command="{python} -m pip install {wanted}",
)  # fmt: skip
TORCH = kind(
    "torch-fails", WARNING, "torch or torchvision does not load",
    "the built-in experiment cannot run; functions that do not need them can",
    cure="install a torch and a torchvision that belong together, in one command",
)  # fmt: skip
CUDA = kind(
    "cuda-unused", WARNING, "the driver shows GPUs that torch cannot use",
    "tasks on --gpu run on the CPU, or fail",
    cure="install a torch built for a CUDA that this driver knows (`nvidia-smi` says which)",
)  # fmt: skip
UVLOOP = kind(
    "uvloop-missing", NOTE, "uvloop is missing",
    "the manager works without it, more slowly", command="{python} -m pip install uvloop",
)  # fmt: skip


def check() -> Iterator[Finding]:
    """What can be told without loading anything large."""
    from sqlqueue.store import health

    for trouble in health.library_troubles():
        yield SQLITE.at(sys.executable, trouble)
    for each in metadata.requires("sqlqueue") or []:
        yield from _package(each)
    if find_spec("uvloop") is None:
        yield UVLOOP.at("uvloop", "no such package", python=sys.executable)


def _package(requirement: str) -> Iterator[Finding]:
    """One line of what the package says that it needs."""
    found = REQUIREMENT.fullmatch(requirement)
    if found is None or "extra" in (found[3] or "") or found[1] == "uvloop":
        return
    name, least = found[1], found[2]
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        version = ""
    if not version or _numbers(version) < _numbers(least):
        found_ = f"{version or 'missing'}, at least {least} is needed"
        yield PACKAGE.at(name, found_, python=sys.executable, wanted=f"{name}>={least}")


def _numbers(version: str) -> list[int]:
    """`2.10.1+cpu` as [2, 10, 1], with no zeros at the end."""
    plain = re.match(r"[0-9.]*", version)
    numbers = [int(each) for each in (plain[0] if plain else "").split(".") if each]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


def torch(seconds: float = LOAD_SECONDS) -> Iterator[Finding]:
    """Whether torch loads, with torchvision, and sees the GPUs that the driver shows."""
    told = _loaded(seconds)
    if "error" in told:
        yield TORCH.at("torch", str(told["error"]).partition("\n")[0][:300])
    elif not told["works"]:
        from sqlqueue.worker.devices import count_gpus

        if count := count_gpus():
            built = f"built for CUDA {told['built']}" if told["built"] else "built without CUDA"
            yield CUDA.at("torch", f"{count} GPUs; torch {told['torch']} is {built}")


def _loaded(seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-c", LOAD]
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"did not load within {seconds:g} s"}
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        return {"error": f"ended with status {done.returncode} while it loaded"}
