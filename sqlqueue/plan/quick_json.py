"""JSON of what we keep ourselves, as the standard library writes and reads it, only quicker.

msgspec is several times as quick, but writes what is not finite as `null` and refuses to read it,
nor does it take integers of more than 64 bits: whatever that may concern is left to the standard
library.  The texts differ in blanks and in how a float is spelled, never in what they mean.
Pure.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import Any, Final

import msgspec

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder()


def written(value: Any) -> str:
    """The value as JSON, in which `NaN` and `Infinity` may stand."""
    try:
        data = _encoder.encode(value)
    except (TypeError, ValueError, OverflowError):
        return json.dumps(value)
    if b"null" in data and not _is_finite(value):
        return json.dumps(value)
    return data.decode()


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return isfinite(value)
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    return not isinstance(value, list | tuple) or all(map(_is_finite, value))


def read(text: str) -> Any:
    """What such a text means."""
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return json.loads(text)
