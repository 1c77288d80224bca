"""What the text of a cell may mean that somebody else's program wrote.

Pure.  Looser than what a sweep file may say (`values.py`), and than what we write ourselves
(`reading_back.py`): `5e-4`, ` 64 `, `TRUE`, `+1.50` and `NaN` are what people see in them.
Promises: no number is rounded but to the nearest float, which every reader of a CSV does; what
is no number for certain (`007`, `1e999`, `12:30`, `1_000`) stays the text that it is.
What is not here: which values tasks have (`catalogue.py`).
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final

from sqlqueue.plan.reading_back import LONGEST_DIGITS
from sqlqueue.plan.rows import Scalar

_INTEGER: Final = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_FLOAT: Final = re.compile(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][+-]?[0-9]+)?")
_COMMA: Final = re.compile(r"[+-]?[0-9]+,[0-9]+([eE][+-]?[0-9]+)?")
_SEPARATORS: Final = re.compile(r"[\s_.-]+")
_WORDS: Final[dict[str, Scalar]] = {
    "true": True, "false": False,
    "nan": math.nan, "+nan": math.nan, "-nan": math.nan, ".nan": math.nan,
    "inf": math.inf, "+inf": math.inf, "-inf": -math.inf,
    ".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf,
    "infinity": math.inf, "+infinity": math.inf, "-infinity": -math.inf,
}  # fmt: skip
_NOTHING: Final = frozenset(("none", "null"))
_SHORTEST: Final = 2
"""Names of one letter are alike only if they are equal: `t` and `T` mean different things."""


def metric(text: str, comma: bool = False) -> Scalar:
    """The value that was measured: a number, true or false, nothing, else the text as it stands.

    `comma`: a decimal comma is one, as in files that semicolons separate.
    """
    bare = text.strip()
    if not bare:
        return None
    found = _scalar(bare, comma)
    return text if isinstance(found, str) else found


def readings(text: str, comma: bool = False) -> Iterator[Any]:
    """What a parameter's text may stand for besides itself, the surest first."""
    bare = text.strip()
    found = _scalar(bare, comma)
    if not isinstance(found, str):
        yield found
    elif not bare or bare.lower() in _NOTHING:
        yield None
    elif bare[0] in "[{(":
        yield from _collection(bare)


def _scalar(bare: str, comma: bool) -> Scalar:
    """The number or truth value that it spells, else itself."""
    word = bare.lower()
    if word in _WORDS:
        return _WORDS[word]
    if comma and _COMMA.fullmatch(bare):
        bare = bare.replace(",", ".")
    if _INTEGER.fullmatch(bare) and len(bare) <= LONGEST_DIGITS:
        return -0.0 if word == "-0" else int(bare)
    return _float(bare) if _FLOAT.fullmatch(bare) else bare


def _float(bare: str) -> float | str:
    """The text, where no float comes near to what it says."""
    number = float(bare)
    mantissa = bare.lower().split("e")[0]
    vanished = number == 0 and any(each in "123456789" for each in mantissa)
    return bare if vanished or math.isinf(number) else number


def _collection(bare: str) -> Iterator[Any]:
    """A list or mapping in JSON, or as Python prints it."""
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(bare)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list | tuple | dict):
            yield found
            return


def alike(name: str) -> str:
    """What the name of a column is without trivial differences: `Width Factor`, `width-factor`."""
    bare = name.strip()
    if len(bare) < _SHORTEST:
        return bare
    return _SEPARATORS.sub("", bare).casefold() or bare
