"""Output directories with `{placeholders}`, filled in.

A placeholder is the name of a parameter; `{{` and `}}` are braces.  Values are written as
short as possible, and equal numbers alike: `100.0` and `100` are `100`, `0.0005` is
`0.0005`, `1e-05` is `1e-5`; true, false, none.  A value is the name of one folder or a part
of it: it cannot be empty, `.` or `..`, nor hold `/`, `\\` or control characters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlqueue.plan.problems import describe

TOKEN: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
"""A brace, a doubled one, or a name between two."""
_UNSAFE: Final = re.compile(r"[/\\\x00-\x1f\x7f]")
_EXPONENT: Final = re.compile(r"e([+-])0*(\d+)$")
_INTEGRAL_BELOW: Final = 1e16
MAX_NAME_BYTES: Final = 200


class TemplateError(ValueError):
    """The text is no output directory, or a value cannot be part of a folder's name."""


@dataclass(frozen=True, slots=True)
class Template:
    """Literal parts and names in turn: a literal, then (name, literal) pairs."""

    first: str
    rest: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters named, each once, in order."""
        return tuple(dict.fromkeys(name for name, _ in self.rest))

    def fill(self, texts: Mapping[str, str]) -> str:
        """The directory; `texts` as `folder_text` gives them."""
        return self.first + "".join(texts[name] + literal for name, literal in self.rest)


def parse(text: str) -> Template:
    """The template that `text` spells; raises `TemplateError`."""
    _check_whole(text)
    literals, names, end = [""], [], 0
    for token in TOKEN.finditer(text):
        literals[-1] += text[end : token.start()]
        end = token.end()
        if token[0] in ("{{", "}}"):
            literals[-1] += token[0][0]
        else:
            names.append(_name(token))
            literals.append("")
    literals[-1] += text[end:]
    return Template(literals[0], tuple(zip(names, literals[1:], strict=True)))


def _check_whole(text: str) -> None:
    if not text.strip():
        raise TemplateError("found an empty text, expected a folder; write its path")
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise TemplateError(f"found {describe(text)}, expected a path without control characters")
    if text.startswith("~"):
        raise TemplateError(f"found {describe(text)}, but ~ is not expanded; write the whole path")


def _name(token: re.Match[str]) -> str:
    name = token[1]
    if name is None:
        raise TemplateError(
            f"found a lone {token[0]!r}, expected {{name}}; write {token[0] * 2} for a brace"
        )
    if not name.strip():
        raise TemplateError("found {}, expected the name of a parameter between the braces")
    if ":" in name or "!" in name:
        bare = re.split("[:!]", name)[0]
        raise TemplateError(f"found {{{name}}}, expected {{{bare}}}; formats are not supported")
    return name.strip()


def folder_text(value: Any) -> str:
    """The value as part of a folder's name; raises `TemplateError`."""
    text = _text(value)
    if text.strip() in ("", ".", "..") or _UNSAFE.search(text):
        raise TemplateError(
            f"found {describe(value)}, expected a value without / that can be part of a "
            "folder's name, because output_dir names it"
        )
    if len(text.encode(errors="replace")) > MAX_NAME_BYTES:
        raise TemplateError(f"found a text of more than {MAX_NAME_BYTES} bytes in a folder's name")
    return text


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return short(value)
    raise TemplateError(f"found {describe(value)}, expected a single value in a folder's name")


def short(value: float) -> str:
    """A number as short as possible, equal ones alike."""
    if value.is_integer() and abs(value) < _INTEGRAL_BELOW:
        return str(int(value))
    return _EXPONENT.sub(lambda found: "e" + found[1].replace("+", "") + found[2], repr(value))
