"""How the process of a manager is set up: signals, event loop, descriptors.

What is not here: what a signal ends (`server.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
from collections.abc import Callable

log = logging.getLogger("sqlqueue.manager")


def on_signals(stop: Callable[[str], None]) -> None:
    """The first asks, the second ends the process at once.  An ignored signal stays so.

    One that announces a preemption to all processes of a job is for the workers among them.
    """
    loop = asyncio.get_running_loop()
    asked = False

    def act(number: signal.Signals) -> None:
        nonlocal asked
        if asked:
            log.warning("Stopped at once: a second signal")
            os._exit(128 + number)
        asked = True
        stop(f"{number.name} received; a second one stops at once")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, act, number)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def new_loop() -> asyncio.AbstractEventLoop:
    """The fast one where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def raise_file_limit() -> None:
    """Every client is a descriptor: as many as the system lets us have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
