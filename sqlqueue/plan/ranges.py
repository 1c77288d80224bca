"""`range(0, 5)`, `linspace(0, 1, 5)`, `logspace(-4, -1, 4)`: texts that stand for values.

Promises: nothing is evaluated, a text is matched and its numbers are read; how many values
it stands for is known, and bounded, before one is made; the values are the same on every
machine and for ever, since signatures hang on them.

Values are worked out exactly, in fractions, and rounded once, to the nearest float: what
comes out is what the decimal would be read as (`0.3`, never `0.30000000000000004`).  Powers
of ten that are no whole ones are rounded from 60 decimal digits.  What is not here: where a
range may stand (`declared.py`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from typing import Final

from sqlqueue.plan.problems import did_you_mean, shorten
from sqlqueue.plan.scalars import Unclear, number

MAX_VALUES: Final = 100_000
"""Values of one range."""

_CALL: Final = re.compile(r"([^\W\d][\w.]*)\s*\((.*)\)", re.DOTALL)
_BEGUN: Final = re.compile(r"(range|linspace|logspace)\s*\([^()]*")
_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
_DECIMAL: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LONGEST: Final = 100
"""Characters of one number in a range."""
_LARGEST_EXPONENT: Final = 308
_DIGITS: Final = Context(prec=60)
_FORMS: Final = {
    "range": "range(stop), range(start, stop) or range(start, stop, step)",
    "linspace": "linspace(first, last, count)",
    "logspace": "logspace(first exponent, last exponent, count)",
}


class RangeError(ValueError):
    """The text is meant as a range and is none: says what was found and what to write."""


@dataclass(frozen=True, slots=True)
class Range:
    """`count` values, each made by `at` from its number."""

    count: int
    at: Callable[[int], int | float]

    def values(self) -> list[int | float]:
        """All of them; `RangeError` when they are too many."""
        if self.count > MAX_VALUES:
            raise RangeError(
                f"found a range of {_short(self.count)} values, expected at most {MAX_VALUES}"
            )
        return [self.at(index) for index in range(self.count)]


def read(text: str) -> Range | None:
    """The range that a text spells, None when it is no call of a known name."""
    match = _CALL.fullmatch(text.strip())
    if match is None or match[1] not in _FORMS:
        return None
    name, given = match[1], [each.strip() for each in match[2].split(",")]
    texts = [] if given == [""] else given
    if len(texts) not in ((1, 2, 3) if name == "range" else (3,)):
        raise RangeError(f"found {len(texts)} numbers in {name}, expected {_FORMS[name]}")
    numbers = [_number(each, name) for each in texts]
    if name == "range":
        return _range(numbers, all(map(_INTEGER.fullmatch, texts)))
    count = _count(texts[2], name)
    return _linspace(numbers, count) if name == "linspace" else _logspace(numbers, count)


def weight(text: str) -> int:
    """How many values a scalar stands for: 1 when it is no range, or too long a one."""
    try:
        found = read(text) if text.endswith(")") else None
    except RangeError:
        return 1
    return found.count if found is not None and found.count <= MAX_VALUES else 1


def is_cut(text: str) -> bool:
    """Whether YAML cut a range in two at its comma."""
    return _BEGUN.fullmatch(text.strip()) is not None


def unknown_function(text: str) -> str | None:
    """The hint for a call that is close to a known one, ` (did you mean 'range'?)`."""
    match = _CALL.fullmatch(text.strip())
    if match is None or match[1] in _FORMS:
        return None
    return did_you_mean(match[1].rpartition(".")[2], _FORMS) or None


# --- arguments ------------------------------------------------------------------------


def _number(text: str, name: str) -> Fraction:
    """The exact value of a number as written."""
    if len(text) > _LONGEST or not _DECIMAL.fullmatch(text):
        raise RangeError(
            f"found {shorten(text)!r} in {name}, expected a number; nothing is computed, "
            f"write {_FORMS[name]}"
        )
    try:
        number(text, None)  # neither too large nor too small for a float, nor 012
    except Unclear:
        raise RangeError(
            f"found {text} in {name}, expected a number that a float can hold, without zeros "
            "in front"
        ) from None
    exact = Decimal(text)
    return Fraction(exact) if exact else Fraction(0)


def _count(text: str, name: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise RangeError(f"found the count {text}, expected an integer: {_FORMS[name]}")
    count = int(text)
    if count < 1:
        raise RangeError(f"found the count {count}, expected at least 1: {_FORMS[name]}")
    return count


# --- one function per form ------------------------------------------------------------


def _range(numbers: list[Fraction], integers: bool) -> Range:
    start, stop = (Fraction(0), numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])
    step = numbers[2] if len(numbers) == 3 else Fraction(1)
    if step == 0:
        raise RangeError("found a range with a step of 0, expected another step")
    count = math.ceil((stop - start) / step)
    if count < 1:
        way = "above" if step > 0 else "below"
        raise RangeError(
            f"found an empty range; with this step its stop, which is left out, must be {way} "
            "its start"
        )
    if integers:  # exact by themselves, and several times as quick as fractions
        first, stride = int(start), int(step)
        return Range(count, lambda index: first + index * stride)
    return Range(count, lambda index: float(start + index * step))


def _linspace(numbers: list[Fraction], count: int) -> Range:
    return Range(count, lambda index: float(_between(numbers, count, index)))


def _logspace(numbers: list[Fraction], count: int) -> Range:
    if any(abs(each) > _LARGEST_EXPONENT - 1 for each in numbers[:2]):
        raise RangeError(
            f"found an exponent beyond {_LARGEST_EXPONENT - 1} in logspace, expected "
            "exponents of 10: logspace(-4, -1, 4) is 0.0001, 0.001, 0.01, 0.1"
        )
    return Range(count, lambda index: _power(_between(numbers, count, index)))


def _between(numbers: list[Fraction], count: int, index: int) -> Fraction:
    """Both ends are in; a single value is the first end, as in numpy."""
    first, last = numbers[0], numbers[1]
    return first + (last - first) * Fraction(index, count - 1) if count > 1 else first


def _power(exponent: Fraction) -> float:
    """10 to the power of it, as the nearest float."""
    if exponent.denominator == 1:
        return float(Fraction(10) ** exponent.numerator)
    exact = _DIGITS.divide(Decimal(exponent.numerator), Decimal(exponent.denominator))
    return float(_DIGITS.power(Decimal(10), exact))


def _short(count: int) -> str:
    return str(count) if count < 10**20 else f"more than {10**20:.0e}"
