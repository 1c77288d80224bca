"""Which devices runners use, and what a child's environment says of its own.

Promises: asks the driver how many GPUs there are, in a process of its own, so that the
supervisor never loads CUDA; a GPU that is not there is a loud warning and the CPU, or an
error when GPUs are required.  `CUDA_VISIBLE_DEVICES`, when set, is respected: GPU 0 is
the first that it names.  What is not here: torch.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sqlqueue.errors import UsageError
from sqlqueue.home import TOKEN
from sqlqueue.protocol import WorkerType

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
THREADS: Final = "OMP_NUM_THREADS"
ASK_SECONDS: Final = 60.0

_ASK: Final = """
import ctypes
count = ctypes.c_int(0)
try:
    driver = ctypes.CDLL("libcuda.so.1")
    if driver.cuInit(0) == 0:
        driver.cuDeviceGetCount(ctypes.byref(count))
except OSError:
    pass
print(count.value)
"""

log = logging.getLogger("sqlqueue.worker")


@dataclass(frozen=True)
class Device:
    """One device: `label` in names and log lines, `reported` to the manager.

    `run_device` is what an experiment is told; a child sees only its own GPU, as the first.
    """

    label: str
    reported: str
    run_device: str
    gpu: int | None = None

    @property
    def worker_type(self) -> WorkerType:
        return "cpu" if self.gpu is None else "gpu"


CPU: Final = Device("cpu", "cpu", "cpu")


def gpu_device(index: int) -> Device:
    return Device(f"gpu{index}", f"cuda:{index}", "cuda:0", index)


def count_gpus() -> int:
    """How many GPUs the driver shows this user; 0 when there is no driver."""
    command = [sys.executable, "-I", "-S", "-c", _ASK]
    try:
        asked = subprocess.run(
            command, capture_output=True, text=True, timeout=ASK_SECONDS, check=False
        )
        return int(asked.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return 0


def choose(
    gpus: Sequence[int] | Literal["all"], cpu: bool, require_gpu: bool, available: int
) -> list[Device]:
    """The devices to use; with neither `gpus` nor `cpu`, all GPUs, else the CPU."""
    wanted = _wanted(gpus, cpu, available)
    missing = [index for index in wanted if not 0 <= index < available]
    if require_gpu and (missing or not wanted):
        raise UsageError(_missing_text(missing, available) + "; --require-gpu refuses the CPU")
    if missing or (gpus == "all" and not wanted):
        log.warning("%s: USING THE CPU INSTEAD", _missing_text(missing, available))
    found = [gpu_device(index) for index in wanted if index not in missing]
    return found + ([CPU] if cpu or missing or not found else [])


def _wanted(gpus: Sequence[int] | Literal["all"], cpu: bool, available: int) -> list[int]:
    if gpus == "all" or (not gpus and not cpu):
        return list(range(available))
    return list(dict.fromkeys(int(each) for each in gpus))


def _missing_text(missing: Sequence[int], available: int) -> str:
    has = {0: "no GPU", 1: "one GPU, number 0"}.get(
        available, f"{available} GPUs, numbers 0 to {available - 1}"
    )
    asked = ", ".join(f"--gpu {index}" for index in missing) or "a GPU"
    return f"{asked} was asked for, but this machine shows {has}"


def child_environment(
    device: Device, runners: int, inherited: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What a child inherits: its own GPU only, its share of the cores, and no secret.

    The share is OMP_NUM_THREADS, which torch and numpy obey; a value of the user's stays.
    """
    environment = dict(os.environ if inherited is None else inherited)
    environment.pop(TOKEN, None)
    environment.setdefault(THREADS, str(max(1, len(os.sched_getaffinity(0)) // max(1, runners))))
    environment[VISIBLE] = _visible(device, environment.get(VISIBLE))
    return environment


def _visible(device: Device, inherited: str | None) -> str:
    if device.gpu is None:
        return ""
    names = [each.strip() for each in (inherited or "").split(",") if each.strip()]
    return names[device.gpu] if device.gpu < len(names) else str(device.gpu)
