"""Plain YAML scalars as the values that people mean by them.

YAML 1.2's core schema, and stricter where it surprises:

* `5e-4`, `1e5`, `.5`, `.inf`, `.nan` are floats; `0x1f` and `0o17` are integers.
* Only `true` and `false` (also `True`, `TRUE`, ...) are booleans: `yes`, `no`, `on` and
  `off` are texts; so are dates, `1_000` and `12:30`.
* `012` is neither 10 nor 12 but a complaint, as is a number that no float can hold.

Whatever is quoted is text.  What is not here: declared kinds (`values.py`).
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

_WORDS: Final[dict[str, Any]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INFINITE: Final = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_NAN: Final = re.compile(r"\.(nan|NaN|NAN)")
_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
_LEADING_ZERO: Final = re.compile(r"[-+]?0[0-9]+")
_BASED: Final = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NONZERO_MANTISSA: Final = re.compile(r"[-+0.]*[1-9]")

MAX_DIGITS: Final = 400
"""Longest integer that is read; a float holds 309 digits."""


class Unclear(ValueError):
    """The scalar could mean several things, or nothing: says what to write instead."""


def resolve(text: str) -> Any:
    """The value of an unquoted scalar; raises `Unclear`."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "-+.0123456789":
        return number(text, text)
    return text


def number(text: str, otherwise: Any) -> Any:
    """The number that `text` spells, or `otherwise` when it spells none."""
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        return _float(text)
    if _BASED.fullmatch(text):
        return _limited(text, 16 if text[1] == "x" else 8)
    if match := _INFINITE.fullmatch(text):
        return float(f"{match[1]}inf")
    return math.nan if _NAN.fullmatch(text) else otherwise


def _integer(text: str) -> int:
    if _LEADING_ZERO.fullmatch(text):
        sign, digits = text[: -len(text.lstrip("+-"))], text.lstrip("+-")
        raise Unclear(
            f"found {text}, expected a number without leading zeros; "
            f'write {sign}{digits.lstrip("0") or "0"}, or "{text}" for a text'
        )
    return _limited(text, 10)


def _limited(text: str, base: int) -> int:
    if len(text) > MAX_DIGITS:
        raise Unclear(
            f"found an integer of {len(text)} digits, expected at most {MAX_DIGITS}; "
            "put it into quotes if it is a text"
        )
    return int(text, base if base == 10 else 0)


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise Unclear(f"found {text}, expected a number that a float can hold; write .inf for it")
    if value == 0 and _NONZERO_MANTISSA.match(text.lower().split("e")[0]):
        raise Unclear(f"found {text}, expected a number that a float can hold; write 0 for it")
    return value
