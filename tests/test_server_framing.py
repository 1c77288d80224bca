"""Bytes to messages: however they arrive, each message once, whole, at linear cost."""

from __future__ import annotations

import json
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlqueue.errors import MessageTooLarge
from sqlqueue.manager import framing
from sqlqueue.manager.framing import SMALL_BYTES, Framer

LIMIT = 8 * 1024 * 1024


def everything(framer: Framer) -> list[bytes]:
    found = []
    while text := framer.next_line() or framer.whole_object():
        found.append(text)
    return found


def fed(*pieces: bytes, limit: int = LIMIT) -> list[bytes]:
    framer = Framer(limit)
    found = []
    for piece in pieces:
        framer.feed(piece)
        found += everything(framer)
    return found


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b'{"a":1}\n'], [b'{"a":1}']),
        ([b'{"a":1}'], [b'{"a":1}']),
        ([b'{"a":1}', b"\n"], [b'{"a":1}']),
        ([b'{"a":1}', b"\r\n", b"\n \n", b'{"b":2}\n'], [b'{"a":1}', b'{"b":2}']),
        ([b'{"a":1}\n{"b":', b"2}"], [b'{"a":1}', b'{"b":2}']),
        ([b'{"a":{"b":1}', b"}"], [b'{"a":{"b":1}}']),
        ([b'{"a":"}', b'"}'], [b'{"a":"}"}']),
        ([b'  {"a":1} \r'], [b'  {"a":1} \r']),
        ([b"\n\n \t\r\n"], []),
        ([b"nonsense}"], []),
        ([b"nonsense}", b"\n"], [b"nonsense}"]),
        ([b'{"a":1}{"b":2}'], []),
        ([b"[1]"], []),
        ([b'{"a":1}\n', b'{"a":1}\n'], [b'{"a":1}', b'{"a":1}']),
    ],
)
def test_messages(pieces: list[bytes], expected: list[bytes]) -> None:
    assert fed(*pieces) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=3), min_size=1, max_size=5)


@given(OBJECTS, st.lists(st.integers(0, 400), max_size=12))
def test_lines_are_the_same_however_they_are_cut(objects: list[object], cuts: list[int]) -> None:
    text = b"".join(json.dumps(each).encode() + b"\n" for each in objects)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    found = fed(*(text[a:b] for a, b in pairwise(edges)))
    assert [json.loads(each) for each in found] == objects


@given(OBJECTS)
def test_byte_by_byte_without_line_ends(objects: list[object]) -> None:
    for each in objects:
        text = json.dumps(each).encode()
        assert fed(*(text[i : i + 1] for i in range(len(text)))) == [text]


def test_the_limit_is_inclusive_with_and_without_line_end() -> None:
    text = b'{"a":"' + b"x" * 92 + b'"}'
    assert fed(text + b"\n", limit=100) == [text]
    assert fed(text, limit=100) == [text]
    for longer in (b" " + text + b"\n", b" " + text, b"x" * 101, b" " * 101):
        with pytest.raises(MessageTooLarge, match="100 bytes"):
            fed(longer, limit=100)


def test_a_long_line_is_refused_before_all_of_it_arrived() -> None:
    framer = Framer(100)
    framer.feed(b"x" * 101)
    with pytest.raises(MessageTooLarge):
        framer.next_line()


def test_the_rest() -> None:
    framer = Framer(LIMIT)
    framer.feed(b'half a {"mess')
    assert framer.next_line() is None
    assert framer.rest() == b'half a {"mess'
    assert framer.rest() is None
    framer.feed(b" \r ")
    assert framer.rest() is None


def test_trying_is_put_off_for_long_messages_and_can_be_forced() -> None:
    inner = b'{"k":' + b'{"a":1},' * SMALL_BYTES
    framer = Framer(LIMIT)
    framer.feed(b'{"a":[' + inner[: -len(b",")])
    assert framer.whole_object() is None, "tried, in vain"
    assert not framer.undecided
    whole = b'{"list":[' + b'{"a":1},' * SMALL_BYTES + b'{"a":1}'
    framer = Framer(LIMIT)
    framer.feed(whole)
    assert framer.whole_object() is None
    framer.feed(b"]}")
    assert framer.whole_object() is None, "put off: it has not doubled"
    assert framer.undecided
    assert framer.whole_object(force=True) == whole + b"]}"
    assert len(framer) == 0


def test_a_long_message_in_many_pieces_is_parsed_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed_bytes = 0
    real = framing.is_complete

    def counting(text: bytes | bytearray) -> bool:
        nonlocal parsed_bytes
        parsed_bytes += len(text)
        return real(text)

    monkeypatch.setattr(framing, "is_complete", counting)
    piece = b'{"metric":[1,2,3,{"x":0}]}'
    framer = Framer(LIMIT)
    framer.feed(b'{"all":[')
    count = 20_000
    for _ in range(count):
        framer.feed(piece)
        assert framer.next_line() is None
        assert framer.whole_object() is None
        framer.feed(b",")
    assert parsed_bytes < 4 * count * len(piece)


def test_one_byte_at_a_time_costs_linear_time() -> None:
    text = b'{"list":[' + b'{"a":1},' * 20_000 + b"0]}"
    framer = Framer(LIMIT)
    start = time.process_time()
    for i in range(len(text)):
        framer.feed(text[i : i + 1])
        if framer.next_line() or framer.whole_object():
            break
    assert time.process_time() - start < 5.0
