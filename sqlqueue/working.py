"""`work`: from the command line to the options of the supervisor.

Promises: a wish that cannot be is refused before anything is started, naming the option.
What is not here: the worker (`worker/`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlqueue.errors import UsageError
from sqlqueue.home import TOKEN, Home

EVERY: Final = "all"


@dataclass(frozen=True)
class Wish:
    """What was typed."""

    gpu: list[str]
    cpu: bool = False
    slots: int = 1
    wait: bool = False
    require_gpu: bool = False
    time_limit_seconds: float | None = None


def work(home: Home, wish: Wish, manager: str | None) -> int:
    """Runs the worker; returns its exit status."""
    devices, where = gpus(wish.gpu), _where(home, manager)
    from sqlqueue.worker import supervisor

    options = supervisor.WorkOptions(
        **where,
        gpus=devices,
        cpu=wish.cpu,
        slots=wish.slots,
        require_gpu=wish.require_gpu,
        wait=wish.wait,
        time_limit_seconds=wish.time_limit_seconds,
    )
    return supervisor.work(options)


def _where(home: Home, manager: str | None) -> dict[str, Any]:
    """The manager of this home, or one elsewhere with its token."""
    if manager is not None:
        return {"home": None, "address": address(manager), "token": token()}
    home.queue_id()
    return {"home": home, "address": None, "token": None}


def gpus(typed: Iterable[str]) -> list[int] | Literal["all"]:
    """The GPUs named, each once; several may stand in one word: `0,1`."""
    words = [word.strip() for each in typed for word in each.split(",")]
    if EVERY in words:
        return EVERY
    return list(dict.fromkeys(_gpu(word) for word in words))


def _gpu(word: str) -> int:
    if not word.isascii() or not word.isdigit():
        raise UsageError(
            f"--gpu: found {word!r}, expected the number of a GPU (0 is the first) or `all`; "
            "for the CPU say --cpu"
        )
    return int(word)


def address(manager: str) -> str:
    """`host:port`, checked."""
    host, _, port = manager.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) <= 65535:
        raise UsageError(
            f"--manager: found {manager!r}, expected HOST:PORT, for example node7:7433; "
            "`sqlqueue serve --port` says which port it took"
        )
    return manager


def token() -> str:
    """What proves this worker to a manager elsewhere.

    Taken out of the environment: no process that the worker starts needs it.
    """
    found = os.environ.pop(TOKEN, "").strip()
    if not found:
        raise UsageError(
            f"--manager needs the worker's token in {TOKEN}; "
            "`sqlqueue token`, run where the home is, prints it"
        )
    return found
