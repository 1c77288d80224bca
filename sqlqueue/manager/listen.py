"""Where the manager can be reached: the Unix socket, the TCP socket, and what proves it.

Promises: the Unix socket is 0600 from its first instant and replaces only the socket of a
dead manager; a home whose path is too long, or whose filesystem has no sockets, gets one
in a private folder under the temporary directory.  The caller holds the home's lock.
What is not here: accepting (`door.py`), asyncio.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlqueue.errors import HomeError, UsageError
from sqlqueue.home import Home

if TYPE_CHECKING:
    import ssl

MAX_PATH_BYTES: Final = 100
"""A Unix socket's address holds 107 bytes; some systems and languages fewer."""
_PREFIX: Final = "sqlqueue-"
_NO_SOCKETS: Final = {errno.EOPNOTSUPP, errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.EROFS}


class AddressInUse(UsageError):
    """Another process listens at that address."""


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """A bound Unix socket; `recorded` is its path as `manager.json` says it."""

    socket: socket.socket
    path: Path
    recorded: str
    inode: int

    @property
    def is_gone(self) -> bool:
        """Whether nothing bears its name any more: a person or a tidy system removed it."""
        return not os.path.lexists(self.path)

    def remove(self) -> None:
        """Takes the name away, if it still is ours, and the private folder if it has one."""
        self.socket.close()
        with contextlib.suppress(OSError):
            if os.lstat(self.path).st_ino == self.inode:  # else who took over listens there
                os.unlink(self.path)
        _remove_private(self.path.parent)


def bind_unix(home: Home, backlog: int) -> UnixSocket:
    """The socket in the home, or elsewhere when the home cannot hold one."""
    _forget_dead(home)
    if len(os.fsencode(home.socket)) <= MAX_PATH_BYTES:
        try:
            bound = _bind(home.socket, backlog)
        except OSError as error:
            if error.errno not in _NO_SOCKETS:
                raise HomeError(f"{home.socket}: cannot listen: {error.strerror}") from None
        else:
            return _named(bound, home.socket, home.socket.name)
    path = _private_folder() / home.socket.name
    return _named(_bind(path, backlog), path, str(path))


def bind_again(home: Home, gone: UnixSocket, backlog: int) -> UnixSocket:
    """A socket in the place of one whose name is gone; it never takes another's place.

    A private folder is made anew: in the old one's place there may be somebody else's.
    """
    if gone.path == home.socket:
        return _named(_bind(home.socket, backlog), home.socket, gone.recorded)
    _remove_private(gone.path.parent)
    path = _private_folder() / home.socket.name
    return _named(_bind(path, backlog), path, str(path))


def _named(bound: socket.socket, path: Path, recorded: str) -> UnixSocket:
    return UnixSocket(bound, path, recorded, os.lstat(path).st_ino)


def _bind(path: Path, backlog: int) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Linux gives the name the mode of the socket itself: there is no instant without it.
        os.fchmod(bound.fileno(), 0o600)
        bound.bind(str(path))
        path.chmod(0o600)
        bound.listen(backlog)
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


def _private_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    if len(os.fsencode(folder)) + len("/manager.sock") > MAX_PATH_BYTES:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir="/tmp"))
    return folder


def _forget_dead(home: Home) -> None:
    """Removes what a manager left that died, or was taken over: we hold the lock."""
    _unlink_socket(home.socket)
    found = home.manager() or {}
    recorded = Path(str(found.get("unix_socket", "")))
    if recorded.is_absolute() and found.get("hostname") == socket.gethostname():
        _remove_private(recorded.parent)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(home.manager_file)


def _unlink_socket(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise HomeError(f"{path}: is not a socket, and the manager's must be there; move it away")
    os.unlink(path)


def _remove_private(folder: Path) -> None:
    """Removes a folder that `_private_folder` made, and no other."""
    with contextlib.suppress(OSError):
        found = folder.lstat()
        if folder.name.startswith(_PREFIX) and stat.S_ISDIR(found.st_mode):
            own = found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == 0o700
            if own and {each.name for each in folder.iterdir()} <= {"manager.sock"}:
                shutil.rmtree(folder)


# --- TCP ----------------------------------------------------------------------------------


def bind_tcp(host: str | None, port: int, backlog: int) -> socket.socket:
    """A listening TCP socket; all interfaces when no host is named; port 0: any free one."""
    if not 0 <= port <= 65535:
        raise UsageError(f"--port {port}: expected 0 (any free port) to 65535")
    try:
        bound = _create_server(host, port, backlog)
    except OSError as error:
        where = f"{host or 'all interfaces'}, port {port}"
        reason = error.strerror or str(error)
        kind = AddressInUse if error.errno == errno.EADDRINUSE else UsageError
        raise kind(
            f"cannot listen on {where}: {reason}; choose another --host or --port (0: any free)"
        ) from None
    bound.setblocking(False)
    return bound


def _create_server(host: str | None, port: int, backlog: int) -> socket.socket:
    if host is None and socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog
            )
    kind, flags = socket.SOCK_STREAM, socket.AI_PASSIVE
    family, *_, address = socket.getaddrinfo(host, port, type=kind, flags=flags)[0]
    return socket.create_server(address[:2], family=family, backlog=backlog)


def reachable_host(bound: socket.socket) -> str:
    """The name under which other hosts find the socket: this host's if it takes all."""
    host = str(bound.getsockname()[0])
    return socket.gethostname() if host in {"0.0.0.0", "::"} else host


def tls_context(certificate: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer with the home's certificate; clients prove themselves by the hello."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    context.load_cert_chain(certificate)
    return context
