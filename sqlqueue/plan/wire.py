"""Messages as lines of JSON, and back: how they are written, and read however they are written.

msgspec checks and decodes; where it refuses a number that is not finite, the standard
library reads the text and msgspec checks what was read.  Pure.  What is not here: the messages
(`protocol.py`), sockets.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any, Final

import msgspec

from sqlqueue.errors import MessageTooLarge, ProtocolError
from sqlqueue.plan.quick_json import nones

_encoder: Final = msgspec.json.Encoder()
_HOLDERS: Final = frozenset({dict, list})


def encode(message: msgspec.Struct, *, free_form: bool) -> bytes:
    """The message as one line.  `free_form`: values of the user's may be NaN or infinite."""
    if free_form:
        return _free_form(message) + b"\n"
    return _encoder.encode(message) + b"\n"


def fits(message: msgspec.Struct, most_bytes: int) -> bool:
    """Whether the free-form message has at most so many bytes; quick where that is clear."""
    with contextlib.suppress(OverflowError, UnicodeEncodeError):
        # However the standard library spells it: what is not ASCII as an escape of six for two.
        if 3 * len(_encoder.encode(message)) <= most_bytes:
            return True
    return len(encode(message, free_form=True)) <= most_bytes


def _free_form(message: msgspec.Struct) -> bytes:
    """msgspec writes what is not finite as `null`: so where there are more of these than fields
    that are none, or where it cannot, the standard library does it."""
    with contextlib.suppress(OverflowError, UnicodeEncodeError):
        data = _encoder.encode(message)
        if data.count(b"null") <= _nones(message):
            return data
    return json.dumps(msgspec.to_builtins(message), separators=(",", ":")).encode()


def _nones(message: msgspec.Struct) -> int:
    """How often it holds None that is written as `null`, or fewer: a field that is None may be
    left out where that is its default."""
    leaves_out = message.__struct_config__.omit_defaults
    count = 0
    for name in message.__struct_fields__:
        value = getattr(message, name)
        if value is None:
            count += not leaves_out
        elif isinstance(value, list) and value and isinstance(value[0], msgspec.Struct):
            count += sum(_nones(each) for each in value if isinstance(each, msgspec.Struct))
        elif type(value) in _HOLDERS:
            count += nones(value)
    return count


def decode(
    line: bytes | bytearray, decoder: msgspec.json.Decoder[Any], kind: Any, most_bytes: int
) -> Any:
    """The message of that kind; raises `ProtocolError` with what is wrong and where."""
    if len(line) > most_bytes:
        raise MessageTooLarge(f"a message holds at most {most_bytes} bytes")
    try:
        return decoder.decode(line)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return _decode_slowly(line, kind)


def _decode_slowly(line: bytes | bytearray, kind: Any) -> Any:
    """For what msgspec's parser refuses and Python's reads: NaN, lone surrogates."""
    try:
        value = json.loads(line.decode("utf-8"), parse_int=_integer)
        return msgspec.convert(_printable(value), kind)
    except msgspec.ValidationError as error:
        raise ProtocolError(f"not a message of the protocol: {error}") from None
    except RecursionError:
        raise ProtocolError("not a message of the protocol: nested too deeply") from None
    except ValueError as error:
        raise ProtocolError(f"not one JSON object in UTF-8: {error}") from None


def _integer(text: str) -> int | str:
    """One with more digits than Python reads (a bound against slow conversion) stays a text."""
    try:
        return int(text)
    except ValueError:
        return text


def _printable(value: Any) -> Any:
    """Lone surrogates have no UTF-8 form: they become their escapes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_printable(key): _printable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_printable(each) for each in value]
    return value


def is_complete(text: bytes | bytearray) -> bool:
    """Whether `text`, which has no line end yet, is one whole JSON value."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
