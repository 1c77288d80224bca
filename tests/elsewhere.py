"""Another host, as far as a manager can tell: a network namespace joined to ours by two cards.

`with another_host() as there:` gives sockets that lie in it, and the words that run a program
in it.  Promises: only addresses of its own, one block per process; namespace and cards are gone
when the `with` ends, whatever still runs in it.  What is not here: what is said over it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from needs import need

Made = TypeVar("Made")

CLONE_NEWNET = 0x40000000
SECONDS = 10.0


def run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"


def block() -> int:
    """Eight addresses that no other process of this machine takes, in 10.128.0.0/9."""
    return (10 << 24) | (1 << 23) | ((os.getpid() << 3) & 0x7FFFF8)


def dotted(address: int) -> str:
    return socket.inet_ntoa(address.to_bytes(4, "big"))


@dataclass
class Elsewhere:
    """A host with two addresses; `here` is ours, as it reaches us."""

    name: str = field(default_factory=lambda: f"sqlqueue-{os.getpid()}")
    here: str = dotted(block() + 1)
    addresses: tuple[str, str] = (dotted(block() + 2), dotted(block() + 3))

    def __post_init__(self) -> None:
        self._inside = ThreadPoolExecutor(1, initializer=self._enter)

    def begin(self) -> None:
        ours, theirs = f"sq{os.getpid()}a", f"sq{os.getpid()}b"
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", ours, "type", "veth", "peer", theirs, "netns", self.name)
        run("ip", "addr", "add", f"{self.here}/29", "dev", ours)
        run("ip", "link", "set", ours, "up")
        for address in self.addresses:
            run("ip", "-n", self.name, "addr", "add", f"{address}/29", "dev", theirs)
        run("ip", "-n", self.name, "link", "set", theirs, "up")
        run("ip", "-n", self.name, "link", "set", "lo", "up")

    def end(self) -> None:
        self._inside.shutdown()
        for words in (("netns", "del", self.name), ("link", "del", f"sq{os.getpid()}a")):
            subprocess.run(["ip", *words], capture_output=True, check=False)

    def command(self, *words: str) -> list[str]:
        """The words that run a program there, under a host name of its own."""
        named = 'echo elsewhere > /proc/sys/kernel/hostname && exec "$@"'
        inside = ["ip", "netns", "exec", self.name, "unshare", "--uts", "sh", "-c", named, "sh"]
        return [*inside, *words]

    def inside(self, make: Callable[[], Made]) -> Made:
        """What `make` returns, called by a thread that lives there: its sockets are of there."""
        return self._inside.submit(make).result(2 * SECONDS)

    def connect(self, port: int, number: int = 0) -> socket.socket:
        """A connection to us from one of its addresses."""
        source, target = (self.addresses[number], 0), (self.here, port)
        return self.inside(lambda: socket.create_connection(target, SECONDS, source))

    def tls(self, port: int, number: int = 0) -> ssl.SSLSocket:
        """The same, encrypted; no hello has been said."""
        plain = self.connect(port, number)
        try:
            return context().wrap_socket(plain)
        except BaseException:
            plain.close()
            raise

    def _enter(self) -> None:
        """Takes this thread there, and no other one."""
        assert threading.current_thread() is not threading.main_thread()
        fd = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            library = ctypes.CDLL(None, use_errno=True)
            if library.setns(fd, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(fd)


def context() -> ssl.SSLContext:
    """Of a client that looks at no certificate."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


@contextlib.contextmanager
def another_host() -> Iterator[Elsewhere]:
    need(os.geteuid() == 0 and shutil.which("ip") is not None, "root and `ip`, for another host")
    there = Elsewhere()
    try:
        there.begin()
        yield there
    finally:
        there.end()
