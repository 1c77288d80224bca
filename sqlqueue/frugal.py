"""Starting with as little of typer as the command line that was typed needs.

Without pydantic, which typer would import to check the values of options: every option here has a
parser of its own, which is all that is needed.  And only commands that were typed are built with
their options; of the others the page of `--help` has name and purpose.  Promises: what is printed
and what is refused is the same; with a typer that does not work that way nothing happens but
typer's own checks.  What is not here: the options (`options.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from copy import copy
from typing import Any

import typer


class Parsed:
    """Stands where typer keeps what brings a value to its type."""

    def __init__(self, parser: Callable[[Any], Any]) -> None:
        self._parser = parser

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:  # noqa: ARG002
        """The value as the option's own parser reads it; several as a list."""
        several = param.multiple or param.nargs == -1
        if value is None:
            return [] if several else None
        return [self._parser(each) for each in value] if several else self._parser(value)


def command_of(app: typer.Typer, words: Collection[str] | None) -> Any:
    """The command line of an application, its parsers put where typer looks first.

    `words`: what was typed; None where it is not known, and any command may be asked for.
    """
    group: Any = typer.main.get_command(app if words is None else _named(app, words))
    above = typer.Context(group, **group.context_settings)
    for each in (group, *group.commands.values()):
        help_option = each.get_help_option(typer.Context(each, parent=above))
        for param in (*each.params, help_option):
            _lighten(param)
            _name_plainly(param)
    return group


def _named(app: typer.Typer, words: Collection[str]) -> typer.Typer:
    """The application with only those commands whole that `words` name."""
    some = copy(app)
    some.registered_commands = [_as_named(each, words) for each in app.registered_commands]
    some.registered_groups = [copy(each) for each in app.registered_groups]
    for each in some.registered_groups:
        if each.typer_instance is not None:
            each.typer_instance = _named(each.typer_instance, words)
    return some


def _as_named(command: Any, words: Collection[str]) -> Any:
    name = command.name or command.callback.__name__
    if name in words:
        return command
    bare = copy(command)
    bare.name, bare.callback = name, _unnamed
    return bare


def _unnamed() -> None:
    """Stands for a command that nobody named, so that nobody can call it."""


def _name_plainly(param: Any) -> None:
    """`FILES...` in the help, where typer would write `{FILES...}...` and a Python type."""
    if getattr(param, "param_type_name", "") == "argument" and param.metavar:
        param._usage_display_name = lambda: param.metavar
        param.display_type = lambda ctx: ""  # noqa: ARG005


def _lighten(param: Any) -> None:
    descriptor = getattr(param, "type_descriptor", None)
    kind = getattr(descriptor, "annotation", None)
    parser = getattr(getattr(descriptor, "parameter_info", None), "parser", None)
    parser = bool if kind is bool else parser
    if parser is not None and getattr(param, "_runtime_param", param) is None:
        param._runtime_param = Parsed(parser)
