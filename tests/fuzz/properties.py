"""What must hold for any bytes that a peer may send, and for any file that a person may name.

`decoder(data)` and `sweep(data)` return words for what became of the input and raise
`AssertionError` when a promise is broken; whatever else they raise is a broken promise too.
What is not here: where inputs come from.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from sqlqueue import protocol, sweep_files
from sqlqueue.errors import ExperimentError, MessageTooLarge, ProtocolError, SweepError
from sqlqueue.manager.framing import Framer
from sqlqueue.plan import sweep as sweeps
from sqlqueue.plan.extends import Source, wanted
from sqlqueue.plan.signature import digest
from sqlqueue.plan.task import Experiment, Parameter
from sqlqueue.visible import printable

# --- the decoder ----------------------------------------------------------------------

MOST_LINES = 6
BLANKS = b" \t\r\n"
GIVEN = re.compile(r"'[^']*'|[0-9]+")
"""What an error message quotes of the input."""


def decoder(data: bytes) -> list[str]:
    """Bytes of one connection: framed alike however they are cut, then decoded line by line."""
    chance = random.Random(zlib.crc32(data))
    pieces = cut(data, chance)
    limit = chance.choice((1 << 20, 1 << 20, 1 << 20, 64, 300))
    lines = framed([data], limit)
    assert lines == framed(pieces, limit), "cut elsewhere, read otherwise"
    eager(data, pieces)
    return [message(line) for line in lines[:MOST_LINES]] or ["blank"]


def cut(data: bytes, chance: random.Random) -> list[bytes]:
    edges = sorted(chance.randint(0, len(data)) for _ in range(chance.choice((1, 2, 5))))
    return [data[a:b] for a, b in itertools.pairwise([0, *edges, len(data)])]


def framed(pieces: list[bytes], limit: int) -> list[bytes]:
    """The lines, the last one without its end too; `too large` where reading stops."""
    framer, lines = Framer(limit), []
    try:
        for piece in pieces:
            framer.feed(piece)
            while (line := framer.next_line()) is not None:
                assert len(line) <= limit
                lines.append(line)
        if (rest := framer.rest()) is not None:
            lines.append(rest)
    except MessageTooLarge:
        lines.append(b"too large")
    return lines


def eager(data: bytes, pieces: list[bytes]) -> None:
    """With objects handed out before their line end: no byte lost, doubled, or out of order."""
    framer, lines = Framer(1 << 20), []
    for piece in pieces:
        framer.feed(piece)
        while text := framer.next_line() or framer.whole_object():
            lines.append(text)
    if text := framer.whole_object(force=True):
        assert protocol.is_complete(text)
        lines.append(text)
    lines.append(framer.rest() or b"")
    assert not len(framer)
    assert bare(b"".join(lines)) == bare(data), "bytes were lost or doubled"


def bare(text: bytes) -> bytes:
    """Without blanks, which part lines."""
    return text.translate(None, BLANKS)


def message(line: bytes) -> str:
    """A line is a message or a `ProtocolError` that a peer can be told; nothing else."""
    word = one_way(line, protocol.decode_request)
    if word.startswith("refused") and zlib.crc32(line) % 2:
        return one_way(line, protocol.decode_reply)
    return word


def one_way(line: bytes, decode: Callable[[bytes], Any]) -> str:
    try:
        found = decode(line)
    except ProtocolError as error:
        told = protocol.encode(protocol.error_reply(error))
        assert told.count(b"\n") == 1 and len(told) < 2000 + 2 * len(line)
        return "refused " + GIVEN.sub("", error.message)[:100]
    sent = protocol.encode(found)
    again = decode(sent[:-1])
    assert same(again, found), f"{found!r} came back as {again!r}"
    assert protocol.encode(again) == sent
    return shape(found)


def same(one: Any, other: Any) -> bool:
    """Equal; nan is nan."""
    if one == other:
        return True
    one, other = msgspec.to_builtins(one), msgspec.to_builtins(other)
    return json.dumps(one) == json.dumps(other)


def shape(found: msgspec.Struct) -> str:
    """The kind of message and the fields that it gives: one not seen yet is worth keeping."""
    kind = type(found)
    given = [
        name
        for name, default in zip(found.__struct_fields__, kind.__struct_defaults__, strict=False)
        if getattr(found, name) != default
    ]
    return f"{kind.__name__} {' '.join(given)}"


# --- sweep files ----------------------------------------------------------------------

MOST_TASKS = 300
FILE = "file.yaml"
EXPERIMENTS = {
    "poisoning": Experiment(
        "poisoning",
        (
            Parameter("dataset", "str", "digits", choices=("digits", "mnist")),
            Parameter("width", "int", 4, minimum=1),
            Parameter("seed", "int", 42),
            Parameter("decay", "float", 0.0, maximum=1.0),
            Parameter("flag", "bool", False),
            Parameter("data_dir", "str", "data", runtime_only=True),
        ),
    ),
    "m:f": Experiment(
        "m:f",
        (Parameter("seed", "int"), Parameter("x", default=None), Parameter("z", default={"a": 0})),
    ),
    "m:open": Experiment("m:open", (Parameter("b", "int", 1, optional=True),), open_ended=True),
}
PLACED = re.compile(rf"(?:{re.escape(FILE)}|base\.yaml):(\d+): .", re.DOTALL)


def lookup(name: str) -> Experiment:
    if name in EXPERIMENTS:
        return EXPERIMENTS[name]
    raise ExperimentError(f"no experiment {name[:50]!r}")


def sweep(data: bytes) -> list[str]:
    """A file is a sweep, or a `SweepError` each line of which names file and line."""
    try:
        text = sweep_files.decoded(Path(FILE), data)
        found = sweeps.load([extended(text)], lookup)
    except SweepError as error:
        placed(error.message, data)
        return [f"refused {each}" for each in set(kinds_of_problems(error.message))]
    cells(found)
    return ["sweep" if found.count else "empty"]


BASE = ("base.yaml", "defaults: {output_dir: 'r_{seed}', seed: 5}\nseeds: range(2)\n")


def extended(text: str) -> Source:
    """The text with the one file that there is, if that is what it extends."""
    names = [name for name, _ in wanted(text)]
    return Source(FILE, text, (BASE,) if "base.yaml" in names else (), not {*names} - {"base.yaml"})


def kinds_of_problems(problems: str) -> list[str]:
    quoted = re.compile(r'"[^"]*"|\'[^\']*\'|[0-9]+')
    return [quoted.sub("", each)[:100] for each in problems.split("\n")]


def placed(problems: str, data: bytes) -> None:
    lines = len(re.split(r"\r\n|[\r\n\x85\u2028\u2029]", data.decode(errors="replace")))
    for problem in problems.split("\n"):
        match = PLACED.match(problem)
        assert match, f"names no file and line: {problem!r}"
        assert 1 <= int(match[1]) <= lines + 1, f"no such line: {problem!r}"
        assert printable(problem) == problem, f"not fit for a terminal: {problem!r}"


def cells(found: sweeps.Sweep) -> None:
    """Counts are true, names are safe, and each folder lies where its text says."""
    count = found.count
    tasks = list(itertools.islice(found.tasks(), MOST_TASKS))
    assert len(tasks) == min(count, MOST_TASKS), f"{len(tasks)} cells, counted {count}"
    if count > MOST_TASKS:
        return
    for each in found.tasks():
        assert each.signature == digest(found.experiments[each.experiment], each.parameters)
    folders = found.output_dirs()
    assert set(folders) == {each.output_dir for each in tasks}
    for each in tasks:
        assert re.fullmatch("[A-Za-z0-9._-]{1,100}", each.phase)
        assert re.fullmatch("[0-9a-f]{32}", each.signature)
        assert not re.search("[\x00-\x1f\x7f]", each.output_dir)
        json.dumps(dict(each.parameters)).encode()
    again = [each.signature for each in found.tasks()]
    assert again == [each.signature for each in tasks]
