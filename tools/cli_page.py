"""Writes docs/CLI.md: every command, as the code declares it.

A test compares the page with what this makes.  What is not here: what the commands mean in full
(docs/COMMANDS.md, which people write).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from sqlqueue.cli import app

PAGE = Path(__file__).resolve().parent.parent / "docs" / "CLI.md"
OF_ALL = ("home", "verbose", "help")
HEAD = """\
# The command line

Written by `python tools/cli_page.py` from the code; a test compares it. [COMMANDS.md](COMMANDS.md)
says what each command does and promises, and what its `--json` holds.

| exit status | meaning |
|---|---|
| 0 | done |
| 1 | it ran, and something failed, was not clean, or was declined |
| 2 | the command line, a file given, or the queue itself is wrong |
| 130, 143, 129 | stopped by Ctrl-C, SIGTERM, SIGHUP |

Every command takes `--home DIR`, `--verbose` (`-v`) and `--help` (`-h`). Results go to standard
output, remarks and complaints to standard error. Whatever prints data takes `--json`: one JSON
document, with nothing else on standard output (`run`, `serve` and `work` tell what they do as text,
`logs` prints bytes, `token` a secret).

| command | |
|---|---|
"""


def commands() -> dict[str, Any]:
    """Every command, by its name, in the order of `--help`."""
    group: Any = typer.main.get_command(app)
    return {name: each for name, each in group.commands.items() if not each.hidden}


def page() -> str:
    """The whole page."""
    found = commands()
    table = [
        f"| [`{name}`](#{_anchor(_title(name, each))}) | {each.short_help} |"
        for name, each in found.items()
    ]
    parts = [HEAD + "\n".join(table)]
    parts += ["\n\n".join(_section(name, each)) for name, each in found.items()]
    return "\n\n".join(parts) + "\n"


def _title(name: str, command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    return " ".join(["sqlqueue", name, *(str(each.metavar or each.name) for each in arguments)])


def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def _section(name: str, command: Any) -> Iterator[str]:
    yield f"## `{_title(name, command)}`"
    text, _, example = command.help.partition("Example: ")
    yield from (" ".join(each.split()) for each in text.strip().split("\n\n"))
    yield f"    {example.strip()}"
    rows = [_row(each) for each in command.params if each.name not in OF_ALL]
    if rows:
        yield "\n".join(["| argument, option | default | meaning |", "|---|---|---|", *rows])


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        default = "(needed)" if parameter.required else "none"
        return _cells(str(parameter.metavar or parameter.name), default, parameter.help)
    text, _, default = parameter.help.partition("  [default: ")
    value = "" if parameter.is_flag else f" {parameter.metavar}"
    names = "`, `".join(f"{each}{value}" for each in sorted(parameter.opts, key=len, reverse=True))
    return _cells(names, default.removesuffix("]"), text)


def _cells(names: str, default: str, text: str) -> str:
    name, default, text = (each.replace("|", "\\|") for each in (names, default, text))
    return f"| `{name}` | {default} | {text} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
