"""Captured output: what a terminal may show of it, its last lines, and reading it while it is cut.

What is not here: the command (`test_logs.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqlqueue import captures
from sqlqueue.captures import Capture
from sqlqueue.coloured import PLAIN, Coloured
from sqlqueue.store.tries import Try
from sqlqueue.worker import captured

ODD = (
    b"\x1b[1;31mred\x1b[0m\ttab\r\n\x1b]0;title\x07 \x1b[2J\x1b[31 caf\xc3\xa9 \xff\xe2\x82 "
    b"\xe2\x80\xae\x9b5n\n"
)
SHOWN = (
    "\x1b[1;31mred\x1b[0m\ttab\r\n\\x1b]0;title\\x07 \\x1b[2J\\x1b[31 café \\xff\\xe2\\x82 "
    "\\u202e\\x9b5n\n"
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_terminal_gets_colours_and_nothing_else_that_steers(size: int) -> None:
    """The same in whatever pieces it comes."""
    shown = Coloured(colours=True)
    pieces = [ODD[at : at + size] for at in range(0, len(ODD), size)]
    assert "".join(map(shown.feed, pieces)) + shown.feed(b"", final=True) == SHOWN + PLAIN


def test_without_colours_they_are_left_out() -> None:
    shown = Coloured(colours=False)
    assert shown.feed(b"\x1b[31mred\x1b[0m\x1b", final=True) == "red\\x1b"


def read(capture: Capture) -> bytes:
    return b"".join(capture.pieces())


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "1.log"


def opened(path: Path) -> Capture:
    return Capture(path, os.open(path, os.O_RDONLY))


LINES = b"".join(b"line %d\n" % number for number in range(1, 21))
TAILS = {
    (LINES, 1): b"line 20\n",
    (LINES, 3): b"line 18\nline 19\nline 20\n",
    (LINES, 0): b"",
    (LINES, 20): LINES,
    (LINES, 99): LINES,
    (LINES + b"no end", 2): b"line 20\nno end",
    (b"no end", 1): b"no end",
    (b"\n\n\n", 2): b"\n\n",
    (b"", 5): b"",
}


@pytest.mark.parametrize("piece", [1, 3, 64, 1 << 16])
@pytest.mark.parametrize("case", TAILS, ids=repr)
def test_the_last_lines(
    log: Path, case: tuple[bytes, int], piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captures, "PIECE_BYTES", piece)
    log.write_bytes(case[0])
    with opened(log) as capture:
        capture.skip_to_last(case[1])
        assert read(capture) == TAILS[case]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Outputs are kept in 1,000 bytes: the first 100, and the last 300."""
    for name, value in (("MOST_BYTES", 1000), ("FIRST_BYTES", 100), ("LAST_BYTES", 300)):
        monkeypatch.setattr(captured, name, value)
    monkeypatch.setattr(captures, "FIRST_BYTES", 100)
    monkeypatch.setattr(captured, "LOOK_SECONDS", 3600.0)
    yield


def numbered(start: int, count: int) -> bytes:
    return b"".join(b"%07d\n" % number for number in range(start, start + count))


@pytest.mark.usefixtures("small")
def test_who_follows_reads_on_where_it_was_when_the_middle_is_left_out(log: Path) -> None:
    """Three times; what was read before the cut is not read again, and nothing after it is lost."""
    output = captured.Captured(log)
    found = b""
    with output, opened(log) as capture, log.open("ab") as child:
        for number in range(3):
            child.write(numbered(200 * number, 150))
            child.flush()
            found += read(capture)
            output._shorten()
            child.write(numbered(200 * number + 150, 50))
            child.flush()
            found += read(capture)
    assert found == numbered(0, 600)
    assert b"bytes of output left out here" in log.read_bytes()


@pytest.mark.usefixtures("small")
def test_what_was_left_out_unread_is_told_by_the_note(log: Path) -> None:
    output = captured.Captured(log)
    with output, opened(log) as capture, log.open("ab") as child:
        child.write(numbered(0, 50))
        child.flush()
        first = read(capture)
        child.write(numbered(50, 450))
        child.flush()
        output._shorten()
        rest = read(capture)
    assert first == numbered(0, 50)
    assert rest.startswith(b"\n[... sqlqueue: about 3,600 bytes of output left out here ...]\n")
    assert rest.endswith(numbered(480, 20))
    with opened(log) as again:
        assert again.left_out == 3600


def test_only_an_ordinary_file_is_read(tmp_path: Path) -> None:
    """A worker says where its log is; `/dev/zero` has no end, and a pipe no beginning."""
    from sqlqueue.home import NAME, Home

    home = Home(tmp_path / NAME)
    home.create()
    for path in ("/dev/zero", str(tmp_path)):
        attempt = Try(1, "FAILED", "w", "", "cpu", path, 1.0)
        with pytest.raises(captures.NoOutput, match="gone"):
            captures.opened(home, "a_0_1", attempt)
