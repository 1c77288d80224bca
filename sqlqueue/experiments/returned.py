"""What a command returns: a JSON object in its file, or the last line of its output that is one.

`Lines` looks at standard output as it comes, in bounded memory; `read_file` reads the file.
Promises: what is torn, too large or no object is a `NoResult` that says so, and never taken for
what stood there before.  What is not here: when there has to be a result.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

MOST_LINE_BYTES: Final = 8 * 1024 * 1024
MOST_FILE_BYTES: Final = 512 * 1024 * 1024
_BLANKS: Final = b" \t\r\v\f"
_CANDIDATE: Final = re.compile(rb"^[ \t]*\{[ \t]*[\"}].*$", re.MULTILINE)
"""A line that may be an object: most of what is printed is not looked at closer."""


class NoResult(ValueError):
    """There is something in the place of a result, and it is none."""


class Lines:
    """Standard output, line by line.  `found`: the last JSON object so far."""

    def __init__(self) -> None:
        self.found: dict[str, Any] | None = None
        self._line = bytearray()
        self._too_long = False
        self._lost = ""

    def feed(self, data: bytes) -> None:
        """Takes in what was printed."""
        first, line_end, rest = data.partition(b"\n")
        self._grow(first)
        if line_end:
            self._end_line()
            whole, _, last = rest.rpartition(b"\n")
            self._take(reversed(_CANDIDATE.findall(whole)))
            self._grow(last)

    def close(self) -> dict[str, Any] | None:
        """The result, if there was a line that is one; raises `NoResult`."""
        torn = bytes(self._line.lstrip(_BLANKS))
        self._end_line()
        if torn.startswith(b"{") and _object(torn) is None:
            raise NoResult("the last line that it printed is the beginning of a JSON object, torn")
        if self._lost:
            raise NoResult(self._lost)
        return self.found

    def _grow(self, data: bytes) -> None:
        if self._too_long or len(self._line) + len(data) > MOST_LINE_BYTES:
            self._too_long = True
            del self._line[1:]  # what it began with is enough
        self._line += b"" if self._too_long and self._line else data[:MOST_LINE_BYTES]

    def _end_line(self) -> None:
        line = bytes(self._line.strip(_BLANKS))
        if self._too_long:
            if line.startswith(b"{"):
                limit = f"{MOST_LINE_BYTES >> 20} MiB"
                self._lost = f"it printed a line {{... of more than {limit}; write it to the file"
        else:
            self._take(_CANDIDATE.findall(line))
        self._line.clear()
        self._too_long = False

    def _take(self, lines: Iterable[bytes]) -> None:
        """The first of them that is an object."""
        found = next((each for each in map(_object, lines) if each is not None), None)
        if found is not None:
            self.found, self._lost = found, ""


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def read_file(path: Path) -> dict[str, Any] | None:
    """The object in a file, None when there is no file; raises `NoResult`, `OSError`."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MOST_FILE_BYTES:
            limit = f"at most {MOST_FILE_BYTES >> 20} MiB"
            raise NoResult(f"$SQLQUEUE_RESULT is no regular file of {limit}")
        return _parsed(file.read(MOST_FILE_BYTES + 1))


def _parsed(data: bytes) -> dict[str, Any]:
    if not data.strip():
        raise NoResult("$SQLQUEUE_RESULT is an empty file, expected a JSON object in it")
    try:
        found = json.loads(data)
    except RecursionError:
        raise NoResult("what is in $SQLQUEUE_RESULT is nested too deeply") from None
    except ValueError as error:
        raise NoResult(f"what is in $SQLQUEUE_RESULT is no JSON, or torn: {error}") from None
    if not isinstance(found, dict):
        kind = type(found).__name__
        expected = 'expected a JSON object, such as {"accuracy": 0.9}'
        raise NoResult(f"what is in $SQLQUEUE_RESULT is JSON of another kind ({kind}), {expected}")
    return found
