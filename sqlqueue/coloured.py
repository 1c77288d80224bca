"""Captured output of experiments as a terminal may show it: text, with the colours it had.

Promises: colours, tabs and the carriage returns of progress bars pass; whatever else would steer a
terminal (titles, cursor, other modes, the direction of writing) is shown as its escape; bytes that
are no UTF-8 too.  The same whatever pieces the output comes in.  What is not here: a pipe, which
gets the bytes as they are.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

from sqlqueue.visible import printable

_COLOUR: Final = re.compile(r"(\x1b\[[0-9;:]{0,40}m|[\t\n\r])")
_BEGUN: Final = re.compile(r"\x1b(?:\[[0-9;:]{0,40})?\Z")
"""At the end of a piece: what may turn out to be a colour."""
PLAIN: Final = "\x1b[0m"


class Coloured:
    """Bytes go in, in pieces; text comes out.  `colours`: whether they are shown, or left out."""

    def __init__(self, colours: bool) -> None:
        self._colours = colours
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._rest = ""

    def feed(self, data: bytes, final: bool = False) -> str:
        """The text of one more piece.  `final`: none comes after it; colours end with it."""
        text = self._rest + self._decoder.decode(data, final)
        begun = None if final else _BEGUN.search(text)
        self._rest = text[begun.start() :] if begun else ""
        shown = "".join(map(self._shown, _COLOUR.split(text[: begun.start()] if begun else text)))
        return shown + (PLAIN if final and self._colours else "")

    def _shown(self, part: str) -> str:
        if part in ("\t", "\n", "\r"):
            return part
        if _COLOUR.fullmatch(part):
            return part if self._colours else ""
        return printable(part)
