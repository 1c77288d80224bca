"""Peers that mean no good, as a program: many connections at once, each in a way of its own.

`python -m hostile TARGET.json` opens so many connections at such a rate to a manager's TCP port
and to its Unix socket, and prints what became of them as JSON.  Malformed, half-sent, slow,
silent, interleaved; to TLS, to the port without TLS, with a worker's secret and without.  What
is said is never a request that changes something: who works beside it must not notice.
What is not here: who works beside it, and what must be true afterwards (`test_hostile.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import ssl
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz import mutate

from sqlqueue import protocol
from sqlqueue.errors import ProtocolError

SEEDS = Path(__file__).parent / "data" / "fuzz" / "decoder"
AT_ONCE = 500
MOST_SECONDS = 30.0
PAUSE_SECONDS = 0.3
"""How long a slow one pauses, at most, between two pieces."""
SILENT_SECONDS = 4.0
LONG_BYTES = protocol.MAX_MESSAGE_BYTES + 100
HARMLESS = (protocol.StatusRequest, protocol.Heartbeat)

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Target:
    """A manager, and how hard it is tried.  `sources`: addresses that connections come from."""

    host: str
    port: int
    unix: str
    secret: str
    sources: list[str]
    connections: int
    per_second: float
    seed: int


class Flood:
    """All connections to one target."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.chance = random.Random(target.seed)
        self.tally: Counter[str] = Counter()
        self.seeds = [each.read_bytes() for each in sorted(SEEDS.iterdir())]
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE
        self.client_hello = client_hello(self.tls)
        self.places = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        ways = list(WAYS)
        weights = [WAYS[way] for way in ways]
        begun = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for number in range(self.target.connections):
                due = begun + number / self.target.per_second
                await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
                await self.places.acquire()
                group.create_task(self.one(self.chance.choices(ways, weights)[0]))

    async def one(self, way: Callable[[Flood], Awaitable[str]]) -> None:
        outcome = "cut off"
        try:
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                async with asyncio.timeout(MOST_SECONDS):
                    outcome = await way(self)
        finally:
            self.places.release()
            self.tally[f"{way.__name__}: {outcome}"] += 1

    # --- connections ----------------------------------------------------------------------

    async def plain(self) -> Pair:
        source = (self.chance.choice(self.target.sources), 0)
        return await asyncio.open_connection(
            self.target.host, self.target.port, local_addr=source, limit=1 << 24
        )

    async def encrypted(self) -> Pair:
        source = (self.chance.choice(self.target.sources), 0)
        return await asyncio.open_connection(
            self.target.host, self.target.port, ssl=self.tls, local_addr=source,
            ssl_handshake_timeout=MOST_SECONDS, limit=1 << 24,
        )  # fmt: skip

    async def known(self) -> Pair:
        """With a worker's secret."""
        pair = await self.encrypted()
        pair[1].write(json.dumps({"type": "hello", "token": self.target.secret}).encode() + b"\n")
        await pair[0].readline()
        return pair

    async def local(self) -> Pair:
        return await asyncio.open_unix_connection(self.target.unix, limit=1 << 24)

    # --- what is said ---------------------------------------------------------------------

    def malformed(self) -> bytes:
        """A few lines that are no request, or one that changes nothing."""
        return b"".join(self._line() + b"\n" for _ in range(self.chance.choice((1, 1, 3, 20))))

    def _line(self) -> bytes:
        text = self.chance.choice(self.seeds)
        for _ in range(20):
            text = mutate.as_json(text, self.chance) or b"{"
            if self.chance.random() < 0.3:
                cut = self.chance.randint(0, len(text))
                text = text[:cut] + self.chance.randbytes(self.chance.randint(0, 9)) + text[cut:]
            text = text.replace(b"\n", b" ")
            if is_harmless(text):
                return text
        return b"{"

    def half(self) -> bytes:
        text = self.malformed()
        return text[: self.chance.randint(1, len(text)) - 1] or b"{"

    async def slowly(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """In a few pieces, with pauses in between in which others are heard."""
        edges = sorted(self.chance.randint(0, len(data)) for _ in range(3))
        for start, end in zip([0, *edges], [*edges, len(data)], strict=True):
            writer.write(data[start:end])
            await writer.drain()
            await asyncio.sleep(self.chance.uniform(0, PAUSE_SECONDS))

    async def leave(self, pair: Pair, reads: bool = True) -> str:
        """Hears some of the answer perhaps, then goes in one of several ways."""
        reader, writer = pair
        heard = b""
        if reads:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.chance.uniform(0.05, 1.0)):
                    heard = await reader.read(1 << 16)
        plain = writer.get_extra_info("sslcontext") is None
        if plain and self.chance.random() < 0.3:
            reset(writer.get_extra_info("socket"))
        writer.transport.abort() if self.chance.random() < 0.5 else writer.close()
        return "answered" if heard else "unanswered"


def client_hello(context: ssl.SSLContext) -> bytes:
    """The first bytes of a handshake."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(into, out, server_hostname=None).do_handshake()
    return out.read()


def is_harmless(text: bytes) -> bool:
    """Whether a manager that hears it must not change a thing."""
    try:
        return isinstance(protocol.decode_request(text), HARMLESS)
    except ProtocolError:
        return True


def reset(connected: socket.socket) -> None:
    """The connection will end with a reset."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# --- ways -----------------------------------------------------------------------------------


async def port_and_nothing(flood: Flood) -> str:
    return await flood.leave(await flood.plain(), reads=False)


async def port_silent(flood: Flood) -> str:
    pair = await flood.plain()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(flood.chance.uniform(0, SILENT_SECONDS)):
            await pair[0].read(1)
            return "let go"
    return await flood.leave(pair, reads=False)


async def port_plain_text(flood: Flood) -> str:
    pair = await flood.plain()
    said = [flood.malformed(), b"GET / HTTP/1.1\r\n\r\n", flood.chance.randbytes(100), b"\x16\x03"]
    await flood.slowly(pair[1], flood.chance.choice(said))
    return await flood.leave(pair)


async def port_half_a_handshake(flood: Flood) -> str:
    pair = await flood.plain()
    data = bytearray(flood.client_hello)
    for _ in range(flood.chance.choice((0, 1, 5))):
        data[flood.chance.randrange(len(data))] = flood.chance.randrange(256)
    await flood.slowly(pair[1], bytes(data[: flood.chance.randint(1, len(data))]))
    return await flood.leave(pair)


async def tls_and_nothing(flood: Flood) -> str:
    return await flood.leave(await flood.encrypted(), reads=False)


async def tls_no_hello(flood: Flood) -> str:
    pair = await flood.encrypted()
    await flood.slowly(pair[1], flood.chance.choice([flood.malformed(), flood.half(), b" " * 9000]))
    return await flood.leave(pair)


async def tls_wrong_token(flood: Flood) -> str:
    pair = await flood.encrypted()
    token = flood.chance.choice(["", flood.target.secret[:-1], "x" * 1000, "é\0"])
    pair[1].write(json.dumps({"type": "hello", "token": token}).encode() + b"\n")
    return await flood.leave(pair)


async def worker_malformed(flood: Flood) -> str:
    pair = await flood.known()
    await flood.slowly(pair[1], flood.malformed())
    return await flood.leave(pair)


async def worker_half(flood: Flood) -> str:
    pair = await flood.known()
    await flood.slowly(pair[1], flood.half())
    return await flood.leave(pair, reads=flood.chance.random() < 0.5)


async def local_and_nothing(flood: Flood) -> str:
    return await flood.leave(await flood.local(), reads=False)


async def local_malformed(flood: Flood) -> str:
    pair = await flood.local()
    pair[1].write(flood.malformed())
    return await flood.leave(pair)


async def local_slowly(flood: Flood) -> str:
    pair = await flood.local()
    await flood.slowly(pair[1], flood.malformed())
    return await flood.leave(pair)


async def local_half(flood: Flood) -> str:
    pair = await flood.local()
    await flood.slowly(pair[1], flood.half())
    if flood.chance.random() < 0.5:
        pair[1].write_eof()
    return await flood.leave(pair)


async def local_never_reads(flood: Flood) -> str:
    pair = await flood.local()
    pair[1].write(flood.malformed() * 50)
    await asyncio.sleep(flood.chance.uniform(0, PAUSE_SECONDS))
    return await flood.leave(pair, reads=False)


async def local_too_long(flood: Flood) -> str:
    pair = await flood.local()
    pair[1].write(b'{"type": "' + b"x" * LONG_BYTES)
    return await flood.leave(pair)


WAYS: dict[Any, float] = {
    port_and_nothing: 18, port_silent: 6, port_plain_text: 10, port_half_a_handshake: 10,
    tls_and_nothing: 5, tls_no_hello: 5, tls_wrong_token: 5, worker_malformed: 4, worker_half: 4,
    local_and_nothing: 8, local_malformed: 12, local_slowly: 6, local_half: 6,
    local_never_reads: 0.95, local_too_long: 0.05,
}  # fmt: skip
"""How often each is chosen, of a hundred."""


def main() -> None:
    target = Target(**json.loads(Path(sys.argv[1]).read_text()))
    flood = Flood(target)
    asyncio.run(flood.run())
    print(json.dumps(dict(sorted(flood.tally.items()))))


if __name__ == "__main__":
    main()
