"""The manager: one process that owns a home, listens, and hands what it hears to the writer.

Promises: a second one on the same home is refused; `manager.json` is there exactly while
clients can connect; on SIGTERM or Ctrl-C nothing more is read, what was received is committed
and acked or, where that takes long, refused, and the files that say where it listens are gone; a
second signal ends it at once, which loses nothing that was acked.  What is not here: SQL,
results, experiments.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from typing import Any, Final

from sqlqueue import keys
from sqlqueue.disk import Disk
from sqlqueue.errors import EXIT_DONE, EXIT_FAILED
from sqlqueue.filesystems import on_network
from sqlqueue.holder import MANAGER, holder_of
from sqlqueue.home import Home
from sqlqueue.home_lock import HomeLock
from sqlqueue.lifecycle import BREAKER_CELLS
from sqlqueue.manager import listen
from sqlqueue.manager.desk import Desk
from sqlqueue.manager.door import Door
from sqlqueue.manager.limits import DEFAULT, Limits
from sqlqueue.manager.process import new_loop, on_signals, raise_file_limit
from sqlqueue.manager.writer import Writer
from sqlqueue.whereabouts import place_of

PORT_SECONDS: Final = 10.0
"""How long to wait for the port of a manager that was taken over; it looks every second."""

log = logging.getLogger("sqlqueue.manager")


@dataclass(frozen=True, slots=True)
class Options:
    """How a manager is to be run.  `port` None and `host` None: no TCP is asked for.

    `took_over`: another manager had the home, and may have the port until it finds out.
    """

    host: str | None = None
    port: int | None = None
    until_done: bool = False
    limits: Limits = DEFAULT
    writer: Callable[..., Writer] = Writer
    disk: Disk = field(default_factory=Disk)
    took_over: bool = False


def serve(
    home: Home,
    *,
    host: str | None = None,
    port: int | None = None,
    until_done: bool = False,
    take_over: bool = False,
    breaker_cells: int = BREAKER_CELLS,
) -> int:
    """Runs the manager of `home` until it is told to stop; the exit status.

    `breaker_cells`: so many cells that fail alike pause their phase; 0: none do.
    Raises `ManagerRunning` when there is one that is not to be taken over, and what opening the
    queue raises.
    """
    home.queue_id()
    keys.create(home)
    raise_file_limit()
    lock = HomeLock(home, MANAGER, take_over=take_over)
    writer = partial(Writer, lock=lock, breaker_cells=breaker_cells)
    options = Options(host=host, port=port, until_done=until_done, writer=writer)
    with lock, asyncio.Runner(loop_factory=new_loop) as runner:
        if lock.taken_from:
            log.warning("The queue is taken over from %s", lock.taken_from)
            options = replace(options, took_over=True)
        return runner.run(_serve(home, options))


async def _serve(home: Home, options: Options) -> int:
    server = Server(home, options)
    on_signals(server.stop)
    return await server.run()


class Server:
    """A manager inside a running loop.  The caller holds the home's lock."""

    def __init__(self, home: Home, options: Options) -> None:
        self._home = home
        self._options = options
        self._keys = keys.load(home)
        self._desk = Desk(self._keys, options.limits, self._look)
        self._writer = options.writer(home, answered=self._desk.answered)
        self._desk.attach(self._writer)
        self._doors: list[Door] = []
        self._unix: listen.UnixSocket | None = None
        self._tcp: socket.socket | None = None
        self._ended = asyncio.Event()
        self._alone = asyncio.Event()
        self._parting: asyncio.Task[None] | None = None
        self._status = EXIT_DONE
        self._started_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")

    async def run(self) -> int:
        """Serves until `stop` is called or the writer ends by itself; the exit status."""
        await asyncio.get_running_loop().run_in_executor(None, self._writer.start)
        try:
            if not self._ended.is_set():
                await self._open()
                await self._tick_until_ended()
        finally:
            await self._close()
        return self._status

    def stop(self, reason: str, status: int = EXIT_DONE) -> None:
        """Ends `run` soon, in good order.  Harmless a second time."""
        if not self._ended.is_set():
            log.info("Stopping: %s", reason)
            self._status = status
            self._ended.set()

    # --- opening --------------------------------------------------------------------------

    async def _open(self) -> None:
        limits = self._options.limits
        self._unix = listen.bind_unix(self._home, limits.backlog)
        self._doors.append(Door(self._unix.socket, self._desk, limits, None))
        log.info("Listening on %s", self._unix.path)
        if self._wants_tcp():
            await self._open_tcp()
        self._note_where()
        for door in self._doors:
            door.open()

    def _wants_tcp(self) -> bool:
        """When asked, and where workers on other hosts share the home."""
        asked = self._options.host is not None or self._options.port is not None
        return asked or on_network(self._home.path)

    async def _open_tcp(self) -> None:
        limits = self._options.limits
        self._tcp = await self._bind_tcp()
        tls = listen.tls_context(self._keys.certificate)
        door = Door(self._tcp, self._desk, limits, tls)
        self._desk.on_known(door.no_stranger)
        self._doors.append(door)
        host, port = listen.reachable_host(self._tcp), self._tcp.getsockname()[1]
        log.info(
            "Listening on %s:%s (TLS, certificate %s...)", host, port, self._keys.fingerprint[:16]
        )

    def _note_where(self) -> None:
        data = self._description()
        self._options.disk.write_beside(self._home.manager_file, data, 0o600)

    async def _bind_tcp(self) -> socket.socket:
        options, loop = self._options, asyncio.get_running_loop()
        end = loop.time() + (PORT_SECONDS if options.took_over else 0.0)
        while True:
            try:
                return listen.bind_tcp(options.host, options.port or 0, options.limits.backlog)
            except listen.AddressInUse:
                if loop.time() >= end or self._ended.is_set():
                    raise
            await asyncio.sleep(options.limits.retry_accept_seconds)

    def _description(self) -> bytes:
        """What `manager.json` says."""
        assert self._unix is not None
        found: dict[str, Any] = {
            "unix_socket": self._unix.recorded,
            "host": listen.reachable_host(self._tcp) if self._tcp else None,
            "port": self._tcp.getsockname()[1] if self._tcp else None,
            "pid": os.getpid(),
            **place_of(self._home.path).as_note(),
            "fingerprint": self._keys.fingerprint,
            "started_at": self._started_at,
            "version": _version(),
        }
        return json.dumps(found, indent=2).encode() + b"\n"

    # --- running --------------------------------------------------------------------------

    async def _tick_until_ended(self) -> None:
        while not self._ended.is_set():
            self._desk.hand_over()  # what was heard counts before leases are judged
            self._writer.tick()
            self._desk.tick()
            await self._stay_reachable()
            self._stay_named()
            self._look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._options.limits.tick_seconds):
                    await self._ended.wait()

    async def _stay_reachable(self) -> None:
        """A socket whose name was removed is made anew; not once another manager is there."""
        gone, limits = self._unix, self._options.limits
        if gone is None or not gone.is_gone:
            return
        with contextlib.suppress(OSError):
            holder = holder_of(self._home)
            if holder is None or holder.pid != os.getpid():
                return
            self._unix = listen.bind_again(self._home, gone, limits.backlog)
            old, self._doors[0] = self._doors[0], Door(self._unix.socket, self._desk, limits, None)
            self._doors[0].open()
            self._note_where()
            log.warning("%s was gone; listening on %s", gone.path, self._unix.path)
            await old.close()

    def _stay_named(self) -> None:
        """A manager that nobody can find is none: its file comes back when it was removed."""
        with contextlib.suppress(OSError):
            if not self._home.manager_file.exists():
                self._note_where()
                log.warning("%s was gone; written again", self._home.manager_file)

    def _look(self) -> None:
        """After every batch, every tick, every client that left: is there anything to do?"""
        if self._desk.connections:
            self._alone.clear()
        else:
            self._alone.set()
        if self._ended.is_set():
            return
        if (error := self._writer.fatal) is not None:
            log.error("%s", error.message)
            self.stop("the writer had to give up", EXIT_FAILED)
            return
        self._desk.look()
        if self._is_done() and self._parting is None:
            self._parting = asyncio.get_running_loop().create_task(self._part())

    def _is_done(self) -> bool:
        return self._options.until_done and self._desk.is_idle and self._writer.all_done()

    async def _part(self) -> None:
        """Lets workers hear that all is done and hang up; new tasks may still change that."""
        await self._until_alone(self._options.limits.parting_seconds)
        self._parting = None
        if self._is_done():
            self.stop(self._writer.told())

    async def _until_alone(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._alone.wait()

    # --- closing --------------------------------------------------------------------------

    async def _close(self) -> None:
        """Nothing new; then what was received is finished and answered; then all go."""
        self._ended.set()
        self._withdraw()
        for door in self._doors:
            await door.close()
        if self._unix is not None:
            self._unix.remove()
        self._desk.stop_taking()
        await asyncio.get_running_loop().run_in_executor(None, self._writer.stop)
        self._look()
        await self._until_alone(self._options.limits.goodbye_seconds)
        self._desk.close()
        for connection in tuple(self._desk.connections):
            connection.abort()
        log.info("Stopped")

    def _withdraw(self) -> None:
        """Nobody is to look for a manager here any more."""
        with contextlib.suppress(OSError):  # it, or the whole filesystem, may be gone
            found = self._home.manager() or {}
            if found.get("pid") == os.getpid() and found.get("hostname") == socket.gethostname():
                self._home.manager_file.unlink()


def _version() -> str:
    try:
        return metadata.version("sqlqueue")
    except metadata.PackageNotFoundError:
        return "unknown"
