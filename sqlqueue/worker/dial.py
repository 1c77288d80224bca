"""How a client reaches a manager: through the Unix socket of this host, else TCP with TLS.

Promises: what comes back is connected, on TCP encrypted, its certificate checked against
the fingerprint, and the hello answered; when nothing comes back the error says what was
tried and what to do.  What is not here: requests, repeating, waiting.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlqueue import protocol
from sqlqueue.errors import (
    HomeError,
    ManagerUnreachable,
    NotAuthorised,
    ProtocolError,
    QueueError,
    UsageError,
    from_wire,
)
from sqlqueue.home import Home

MAX_PATH_BYTES: Final = 107
"""What a Unix socket's address holds."""
_PIECE_BYTES: Final = 256 * 1024


class Wire:
    """A connected stream of lines.  Raises `OSError`; a close by the peer is one too."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = bytearray()
        self._scanned = 0

    def send(self, data: bytes, seconds: float) -> None:
        self._socket.settimeout(seconds)
        self._socket.sendall(data)

    def receive(self, seconds: float) -> protocol.Reply:
        """The next answer; each piece of it may take `seconds`."""
        self._socket.settimeout(seconds)
        while (end := self._buffer.find(b"\n", self._scanned)) < 0:
            self._scanned = len(self._buffer)
            self._take(self._socket.recv(_PIECE_BYTES))
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        return protocol.decode_reply(line)

    def close(self) -> None:
        self._socket.close()

    def _take(self, piece: bytes) -> None:
        if not piece:
            raise ConnectionResetError("the manager closed the connection")
        self._buffer += piece
        if len(self._buffer) > 2 * protocol.MAX_MESSAGE_BYTES:
            raise ProtocolError("the answer has no line end; is this a manager of sqlqueue?")


Way = Callable[[float], Wire]
"""Connects within so many seconds, or raises."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A manager reached over TCP: where, and what proves each side to the other."""

    host: str
    port: int
    secret: str = field(repr=False)
    fingerprint: str

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def dial(self, seconds: float) -> Wire:
        """Connects, checks the certificate, says hello."""
        plain = socket.create_connection((self.host, self.port), timeout=seconds)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            wire = Wire(self._encrypt(plain))
        except BaseException:
            plain.close()
            raise
        return self._greet(wire, seconds)

    def _encrypt(self, plain: socket.socket) -> socket.socket:
        """TLS to whoever shows the pinned certificate; names and authorities do not matter."""
        import hashlib
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        encrypted = context.wrap_socket(plain)
        found = hashlib.sha256(encrypted.getpeercert(binary_form=True) or b"").hexdigest()
        if found != self.fingerprint:
            encrypted.close()
            raise WrongCertificate(
                f"{self} shows another certificate (fingerprint {found[:16]}...) than the token "
                f"names ({self.fingerprint[:16]}...): it is not this queue's manager, or the "
                "token is old; print it again with `sqlqueue token` on the manager's host"
            )
        return encrypted

    def _greet(self, wire: Wire, seconds: float) -> Wire:
        try:
            wire.send(protocol.encode(protocol.Hello(token=self.secret)), seconds)
            reply = wire.receive(seconds)
            if isinstance(reply, protocol.Error):
                raise self._refused(reply)
        except BaseException:
            wire.close()
            raise
        return wire

    def _refused(self, reply: protocol.Error) -> QueueError:
        """A manager tells a stranger nothing; what to do is said here."""
        if reply.code != NotAuthorised.code:
            return from_wire(reply.code, reply.message, reply.retryable)
        return NotAuthorised(
            f"the manager at {self} does not know this token; print it again with "
            "`sqlqueue token` on the manager's host"
        )


class WrongCertificate(NotAuthorised):
    """The peer is not the manager that the token names."""


def remote(address: str, token: str | None) -> Remote:
    """What `--manager HOST:PORT` and `SQLQUEUE_TOKEN` mean; raises `UsageError`."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"the manager's address is {address!r}, expected HOST:PORT")
    secret, _, fingerprint = (token or "").strip().partition(".")
    if not secret or len(fingerprint) != 64:
        found = "is not set" if not token else "is not of the form SECRET.FINGERPRINT"
        raise UsageError(
            f"the token for {address} {found}; set SQLQUEUE_TOKEN to what `sqlqueue token` "
            "prints on the manager's host"
        )
    return Remote(host=host, port=int(port), secret=secret, fingerprint=fingerprint)


def dial_remote(where: Remote, seconds: float) -> Wire:
    """Connects to an address that a person gave."""
    try:
        return where.dial(seconds)
    except OSError as error:
        raise ManagerUnreachable(
            f"no manager answers at {where} ({_reason(error)}); is `sqlqueue serve --host` "
            "running there, and is the port open?"
        ) from None


def dial_home(home: Home, seconds: float) -> Wire:
    """Connects to the manager that `manager.json` in the home names, read afresh."""
    try:
        found = home.manager()
    except OSError as error:
        kind = HomeError if isinstance(error, PermissionError) else ManagerUnreachable
        raise kind(f"{home.manager_file}: cannot be read: {error.strerror}") from None
    if found is None:
        raise ManagerUnreachable(
            f"no manager runs for {home.path} (no manager.json in it); start `sqlqueue serve`"
        )
    failures: list[str] = []
    for name, way in _ways(home, found):
        try:
            return way(seconds)
        except (OSError, WrongCertificate) as error:
            failures.append(f"{name}: {_reason(error)}")
    raise ManagerUnreachable(_all_failed(home, found, failures))


def _ways(home: Home, found: dict[str, Any]) -> list[tuple[str, Way]]:
    """What to try, in order: (its name, a function that connects)."""
    ways: list[tuple[str, Way]] = []
    path, host, port = found.get("unix_socket"), found.get("host"), found.get("port")
    if path and found.get("hostname", socket.gethostname()) == socket.gethostname():
        target = home.path / str(path)
        ways.append((str(target), lambda seconds: dial_unix(target, seconds)))
    if isinstance(host, str) and isinstance(port, int):
        ways.append((f"{host}:{port}", lambda seconds: _of_home(home, host, port).dial(seconds)))
    return ways


def _of_home(home: Home, host: str, port: int) -> Remote:
    """Whoever can read the home's secrets is the owner."""
    from sqlqueue import keys

    secret, _, fingerprint = keys.owner_token(home).partition(".")
    return Remote(host=host, port=port, secret=secret, fingerprint=fingerprint)


def _all_failed(home: Home, found: dict[str, Any], failures: list[str]) -> str:
    where = f"pid {found.get('pid')} on {found.get('hostname')}"
    if not failures:
        return (
            f"the manager of {home.path} ({where}) listens on no TCP port, and this is "
            f"{socket.gethostname()}; restart it there with `sqlqueue serve --port 0`"
        )
    return (
        f"the manager of {home.path} ({where}) does not answer (tried {'; '.join(failures)}); "
        "start `sqlqueue serve`"
    )


def dial_unix(path: Path, seconds: float) -> Wire:
    """Connects to a Unix socket, through its folder's descriptor when the path is too long."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _bound_connect(connection, seconds)
        if len(os.fsencode(path)) <= MAX_PATH_BYTES:
            connection.connect(str(path))
        else:
            _connect_beside(connection, path)
    except BaseException:
        connection.close()
        raise
    return Wire(connection)


def _bound_connect(connection: socket.socket, seconds: float) -> None:
    """A limit for `connect` itself: non-blocking, it fails at once while a backlog is full."""
    whole, rest = divmod(seconds, 1.0)
    limit = struct.pack("@ll", int(whole), max(1, int(rest * 1e6)))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def _connect_beside(connection: socket.socket, path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, QueueError):
        return error.message
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or "failed"
