"""Lets clients in: accepts, checks who is there, and bounds how many strangers wait inside.

Promises: a client that does not finish its handshake or hello holds one of a bounded
number of places and loses it soon, sooner when others come (`strangers.py`); running out of
descriptors neither spins nor ends the manager.  What is not here: the hello itself
(`desk.py`), sockets being made (`listen.py`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from sqlqueue.manager.connection import Connection, Desk
from sqlqueue.manager.limits import Limits
from sqlqueue.manager.strangers import Stranger, Strangers

if TYPE_CHECKING:
    import ssl

log = logging.getLogger(__name__)

_PEER: Final = struct.Struct("3i")
_KEEPALIVE_SECONDS: Final = 60


class Door:
    """One listening socket.  `tls` None: it is the Unix socket."""

    def __init__(
        self, bound: socket.socket, desk: Desk, limits: Limits, tls: ssl.SSLContext | None
    ) -> None:
        self._bound = bound
        self._desk = desk
        self._limits = limits
        self._tls = tls
        self._strangers = Strangers(limits)
        self._places: dict[Connection, Stranger] = {}
        self._accepting: asyncio.Task[None] | None = None
        self._admissions: set[asyncio.Task[None]] = set()
        self._full = False

    def open(self) -> None:
        """Begins to accept."""
        self._accepting = asyncio.get_running_loop().create_task(self._accept_all())

    async def close(self) -> None:
        """Accepts no more.  Handshakes are cut off; a local admission takes no time."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])
        for admission in self._admissions:
            if self._tls is not None:
                admission.cancel()
        await asyncio.gather(*self._admissions, return_exceptions=True)
        self._bound.close()

    def no_stranger(self, connection: Connection) -> None:
        """It has said hello, or is gone."""
        if place := self._places.pop(connection, None):
            leaves = self._strangers.known if connection.role else self._strangers.gone
            leaves(place)

    async def _accept_all(self) -> None:
        while True:
            await asyncio.sleep(0)  # whoever is inside is heard, however many wait outside
            if (connected := await self._accept()) is None:
                continue
            if self._tls is None:
                self._begin(self._admit_local(connected))
            else:
                self._meet(connected)

    def _meet(self, connected: socket.socket) -> None:
        """Gives a stranger a place, or lets it go at once: it may try again."""
        host, name = _name(connected)
        connection = Connection(self._desk, None, self._limits, name)
        admission = self._admit_stranger(connected, connection)

        def leave() -> None:
            log.info(
                "%s: said no hello yet, and others wait: let go", name, extra=connection.stranger
            )
            self._places.pop(connection, None)
            task.cancel()
            connection.abort()

        now = asyncio.get_running_loop().time()
        if (place := self._strangers.enter(host, leave, now)) is None:
            log.debug("%s: too many connections without hello: refused", name)
            admission.close()
            connected.close()
            return
        self._places[connection] = place
        task = self._begin(admission)
        task.add_done_callback(lambda done: connected.close() if done.cancelled() else None)

    async def _accept(self) -> socket.socket | None:
        try:
            connected, _ = await asyncio.get_running_loop().sock_accept(self._bound)
        except ConnectionError:
            return None
        except OSError as error:
            if not self._full:
                log.error("cannot take another connection for now: %s", error.strerror)
            self._full = True
            await asyncio.sleep(self._limits.retry_accept_seconds)
            return None
        self._full = False
        return connected

    async def _admit_local(self, connected: socket.socket) -> None:
        """The Unix socket's permissions are the guard; this is the second look."""
        pid, uid = _credentials(connected)
        if uid not in {0, os.geteuid()}:
            log.warning("refused a connection of user %d on the Unix socket", uid)
            connected.close()
            return
        connection = Connection(self._desk, "owner", self._limits, f"pid {pid}")
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, connected)
        except OSError:
            connected.close()

    async def _admit_stranger(self, connected: socket.socket, connection: Connection) -> None:
        try:
            _keep_alive(connected)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                connected,
                ssl=self._tls,
                ssl_handshake_timeout=self._limits.hello_seconds,
                ssl_shutdown_timeout=self._limits.tls_close_seconds,
            )
        except (OSError, asyncio.CancelledError) as error:
            why = error or "cut off"
            log.info("%s: no TLS connection: %s", connection.peer, why, extra=connection.stranger)
            connected.close()
            self.no_stranger(connection)

    def _begin(self, admission: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(admission)
        self._admissions.add(task)
        task.add_done_callback(self._admissions.discard)
        return task


def _credentials(connected: socket.socket) -> tuple[int, int]:
    """Process and user at the other end, where the system tells; else ours."""
    if not hasattr(socket, "SO_PEERCRED"):
        return 0, os.geteuid()
    data = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    pid, uid, _ = _PEER.unpack(data)
    return pid, uid


def _name(connected: socket.socket) -> tuple[str, str]:
    """The host, and how the log calls the connection."""
    try:
        host, port = connected.getpeername()[:2]
    except OSError:
        return "", "a client that is gone"
    return str(host), f"{host}:{port}"


def _keep_alive(connected: socket.socket) -> None:
    """Notices in minutes that a host is gone, not in hours."""
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)
