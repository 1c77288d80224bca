"""A command as an experiment: what it says, and how a cell's values come into it.

A *placeholder* is `{name}` of a parameter, or `{run.directory}`, `{run.device}`, `{run.seed}`;
`{{` and `}}` are braces.  Values are put in after the command was split into words, so each is
a part of one word whatever is in it: no shell reads it.

Pure.  What is not here: how a sweep file spells a command (`defining.py`), running it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sqlqueue.plan.template import TOKEN, short

RUN: Final = "run."
"""How the placeholders begin that say something of the attempt."""
OF_RUN: Final = ("run.directory", "run.device", "run.seed")

_NAME: Final = re.compile(r"[^\W\d][\w.-]*")


class PlaceholderError(ValueError):
    """A text whose braces say nothing; the message says found and expected."""


@dataclass(frozen=True)
class Command:
    """What an experiment runs.  `words` and the values of `environment` hold placeholders.

    `directory`: where it starts, relative to the root.  `files`: those of its words that named
    a file there when `init` looked, so that a worker elsewhere can tell whether it has them.
    """

    words: tuple[str, ...]
    environment: dict[str, str] = field(hash=False)
    directory: str = ""
    files: tuple[str, ...] = ()

    def placeholders(self) -> list[str]:
        """Every name between braces, each once, in order."""
        texts = (*self.words, *self.environment.values())
        return list(dict.fromkeys(name for text in texts for name in names(text)))

    def says_the_same(self, other: Command | None) -> bool:
        """Whether both run alike; which files are there does not count."""
        return other is not None and replace(self, files=()) == replace(other, files=())


def names(text: str) -> list[str]:
    """The placeholders of a text; raises `PlaceholderError`."""
    return [_name(token) for token in TOKEN.finditer(text) if token[0] not in ("{{", "}}")]


def _name(token: re.Match[str]) -> str:
    name = token[1]
    if name is None:
        raise PlaceholderError(
            f"found a lone {token[0]!r}, expected {{name}}; write {token[0] * 2} for a brace"
        )
    if not _NAME.fullmatch(name):
        raise PlaceholderError(
            f"found {{{name}}}, expected the name of a parameter between the braces; "
            f"write {{{{ and }}}} for braces"
        )
    if name.startswith(RUN) and name not in OF_RUN:
        known = ", ".join(f"{{{each}}}" for each in OF_RUN)
        raise PlaceholderError(f"found {{{name}}}, expected one of {known}")
    return name


def fill(text: str, values: Mapping[str, Any]) -> str:
    """The text with the values put in; raises `KeyError` for one that is missing."""

    def said(token: re.Match[str]) -> str:
        return token[0][0] if token[1] is None else spelled(values[token[1]])

    return TOKEN.sub(said, text)


def spelled(value: Any) -> str:
    """A value as a program gets it.

    A text as it is; `true`, `false`; nothing (null) is the empty text; numbers as short as
    possible, equal ones alike: `100` for `100.0`, `1e-5`; `nan`, `inf`; lists and mappings
    as JSON.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float):
        return short(value)
    return json.dumps(value, ensure_ascii=False)
