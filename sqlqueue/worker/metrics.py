"""What an experiment returned, as values that JSON can hold.

Promises: never refuses and never raises, whatever a value's own methods do; numbers stay
the numbers they are (nan and infinities included); numpy and tensor scalars become
numbers, arrays and tensors lists, without importing either library; what has no such
form becomes its text.  What is not here: dotted names and columns, which are the store's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Set
from enum import Enum
from typing import Any, Final

MAX_DEPTH: Final = 40
MAX_ITEMS: Final = 1_000_000
"""A mapping with more is no metrics, and perhaps has no end."""
MAX_INTEGER_BITS: Final = 4096
"""Beyond it an integer becomes text: Python refuses to print very long ones as decimals."""

Inside = tuple[int, ...]
"""The identities of the values that a value lies in: one that holds itself comes to an end."""


def plain(value: object, inside: Inside = ()) -> Any:
    """`value` as None, bool, int, float, str, list or dict with text keys."""
    if len(inside) > MAX_DEPTH or id(value) in inside:
        return text(value)
    try:
        return _plain(value, (*inside, id(value)))
    except Exception:  # a value's own methods may raise anything
        return text(value)


def plain_mapping(values: Mapping[Any, Any], inside: Inside = ()) -> dict[str, Any]:
    """The mapping with text keys; two keys that are one text both stay, the later one marked.

    Raises what its own methods raise, and `ValueError` for a mapping that has too many items.
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        if len(found) == MAX_ITEMS:
            raise ValueError(f"a mapping of more than {MAX_ITEMS:,} items")
        name = text(key.value if isinstance(key, Enum) else key)
        while name in found:
            name += "_"
        found[name] = plain(value, inside)
    return found


def _plain(value: object, inside: Inside) -> Any:
    if isinstance(value, Enum):
        return plain(value.value, inside)
    if value is None or isinstance(value, bool | int | float | str):
        return _scalar(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [each.name for each in dataclasses.fields(value)]
        return plain_mapping({name: getattr(value, name) for name in names}, inside)
    if isinstance(value, Mapping):
        return plain_mapping(value, inside)
    if isinstance(value, Set):
        return [plain(each, inside) for each in sorted(value, key=text)]
    if isinstance(value, list | tuple | range):
        return [plain(each, inside) for each in value]
    return _array(value, inside)


def _scalar(value: bool | int | float | str | None) -> Any:
    """Of exactly the built-in type: subclasses may print themselves in their own way."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text(value)
    if isinstance(value, float):
        return float(value)
    return int(value) if value.bit_length() <= MAX_INTEGER_BITS else hex(value)


def _array(value: Any, inside: Inside) -> Any:
    """Arrays and tensors, known by what they can do; anything else its text."""
    dimensions = getattr(value, "ndim", None)
    if not isinstance(dimensions, int) or not hasattr(value, "tolist"):
        return text(value)
    found = value.tolist()
    if type(found) is type(value):  # e.g. a long double: it has no smaller form
        return float(found)
    return plain(found, inside)


def text(value: object) -> str:
    """Printable text of anything; lone surrogates become their escapes."""
    try:
        found = str(value)
    except Exception:
        found = f"<{type(value).__name__}>"
    return str.__str__(found).encode("utf-8", "backslashreplace").decode()
