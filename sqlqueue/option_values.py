"""What an option of the command line is made of: its switch or value, and how that is read.

Each reader gives the value or raises `BadParameter` with what it found and what it expected.
What is not here: the options (`options.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import typer

Parse = Callable[[Any], Any]


def whole(least: int, most: int) -> Parse:
    """Reads a whole number between two bounds, or says what was found."""

    def parse(text: Any) -> int:
        try:
            number = int(str(text))
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise typer.BadParameter(
                f"found {text!r}, expected a whole number from {least} to {most}"
            )
        return number

    return parse


def positive(most: int) -> Parse:
    """Reads a number above 0, or says what was found."""

    def parse(text: Any) -> float:
        try:
            number = float(str(text))
        except ValueError:
            number = math.nan
        if not 0 < number <= most:
            raise typer.BadParameter(
                f"found {text!r}, expected a number above 0 and at most {most}"
            )
        return number

    return parse


def flag(name: str, text: str, *more: str) -> Any:
    """A switch that is off by default."""
    return typer.Option(name, *more, help=f"{text}  [default: off]", show_default=False)


def value(name: str, kind: str, text: str, default: str, parser: Parse = str) -> Any:
    """An option that takes a value; its default is said in words."""
    shown = f"{text}  [default: {default}]"
    return typer.Option(name, metavar=kind, help=shown, show_default=False, parser=parser)


FROM_FILE: Final = "file"
MOST_URGENT: Final = 2**31


def urgency(text: Any) -> str:
    """A priority, as text; or the word that gives it back to the sweep file."""
    word = str(text)
    return word if word == FROM_FILE else str(whole(-MOST_URGENT, MOST_URGENT)(word))


def renaming(text: Any) -> tuple[str, str]:
    """Two names of a column, with an equals sign between."""
    old, equals, new = str(text).partition("=")
    if not (old.strip() and equals and new.strip()):
        raise typer.BadParameter(f"found {text!r}, expected OLD=NEW")
    return old.strip(), new.strip()


def limit(text: Any) -> float:
    """A time limit, as `timeout` in a sweep file."""
    from sqlqueue.plan.settings import DURATION, seconds_of

    value: Any = str(text)
    with suppress(ValueError):
        value = float(value)
    seconds = seconds_of(value)
    if seconds is None:
        raise typer.BadParameter(f"found {text!r}, expected {DURATION}")
    return seconds
