"""Values brought to what an experiment declares: `100` to `100.0`, `4.0` to `4`.

Promises: what comes out has the declared kind, lies within the bounds and is one of the
choices; what cannot be brought without a guess raises `Mismatch`.  Nothing is rounded.
What is not here: how files are read, what a parameter is (`task.py`).
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

from sqlqueue.plan.problems import describe, did_you_mean, shorten
from sqlqueue.plan.scalars import Unclear, number
from sqlqueue.plan.signature import canonical
from sqlqueue.plan.task import Parameter

_EXACT: Final = 2**53
"""Up to here a float tells every integer from its neighbours."""

_SEEDS: Final = 2**63
"""Seeds are numbers to the queue too, and lie below it."""

_EXPECTED: Final = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "any": "a value",
}
_SPELLED: Final = {"inf": math.inf, "+inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_BOOLEANS: Final = {"true": True, "false": False}
_NO_BOOLEANS: Final = re.compile(r"yes|no|on|off|y|n|0|1", re.IGNORECASE)


class Mismatch(ValueError):
    """The value is not what the parameter takes; the message says found and expected."""


def bring(parameter: Parameter, value: Any, text: str | None = None) -> Any:
    """`value` as `parameter` takes it.  `text`: as it was written, if it was a scalar."""
    if value is None:
        return _nothing(parameter)
    brought = _KINDS[parameter.kind](value, text)
    if brought is _NO:
        raise Mismatch(f"found {describe(value)}, expected {expected(parameter)}{_cure(value)}")
    return _bounded(parameter, _chosen(parameter, brought))


def expected(parameter: Parameter) -> str:
    """What the parameter takes, in words."""
    if parameter.choices:
        words = "one of " + ", ".join(map(_word, parameter.choices))
    else:
        words = _EXPECTED[parameter.kind] + _bounds(parameter)
    return words + (", or null" if parameter.optional else "")


def _word(choice: Any) -> str:
    return choice if isinstance(choice, str) else canonical(choice)


def _bounds(parameter: Parameter) -> str:
    low, high = parameter.minimum, parameter.maximum
    if low is not None and high is not None:
        return f" from {canonical(low)} to {canonical(high)}"
    if low is not None:
        return f" of at least {canonical(low)}"
    return "" if high is None else f" of at most {canonical(high)}"


def _nothing(parameter: Parameter) -> None:
    if parameter.optional or None in parameter.choices:
        return
    if parameter.kind != "any" or parameter.choices:
        raise Mismatch(f"found {describe(None)}, expected {expected(parameter)}")


def _chosen(parameter: Parameter, value: Any) -> Any:
    if not parameter.choices:
        return value
    form = canonical(value)
    for choice in parameter.choices:
        if canonical(choice) == form:
            return choice
    hint = did_you_mean(value, parameter.choices) if isinstance(value, str) else ""
    raise Mismatch(f"found {describe(value)}, expected {expected(parameter)}{hint}")


def _bounded(parameter: Parameter, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    low, high = parameter.minimum, parameter.maximum
    inside = (low is None or value >= low) and (high is None or value <= high)
    if not inside:  # a nan is inside of nothing
        raise Mismatch(f"found {describe(value)}, expected {expected(parameter)}")
    if parameter.name == "seed" and isinstance(value, int) and not -_SEEDS <= value < _SEEDS:
        raise Mismatch(f"found {describe(value)}, expected a seed that fits into 64 bits")
    return value


# --- one function per kind; `_NO` means that the value is not of it -------------------

_NO: Final = object()


def _integer(value: Any, _text: str | None) -> Any:
    value = _spelled(value)
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    return value if _is(value, int) else _NO


def _float(value: Any, _text: str | None) -> Any:
    value = _spelled(value)
    if not _is(value, int) and not _is(value, float):
        return _NO
    try:
        return float(value)
    except OverflowError:
        return _NO


def _bool(value: Any, _text: str | None) -> Any:
    if isinstance(value, str):
        return _BOOLEANS.get(value.lower(), _NO)
    return value if isinstance(value, bool) else _NO


def _str(value: Any, text: str | None) -> Any:
    if isinstance(value, str):
        return value
    is_number = _is(value, int) or _is(value, float)
    return text if is_number and text is not None else _NO


def _any(value: Any, _text: str | None) -> Any:
    return value


_KINDS: Final = {"int": _integer, "float": _float, "bool": _bool, "str": _str, "any": _any}


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _spelled(value: Any) -> Any:
    """The number that a text spells (`"5e-4"`), else the value itself."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.lower() in _SPELLED:
        return _SPELLED[text.lower()]
    try:
        return number(text, value) if text else value
    except Unclear as unclear:
        raise Mismatch(shorten(str(unclear), 300)) from None


def _cure(value: Any) -> str:
    if isinstance(value, str) and _NO_BOOLEANS.fullmatch(value):
        return "; the booleans of a sweep file are true and false"
    if isinstance(value, list):
        return "; lists are swept in `combinations` only"
    return ""
