"""A Python function as an experiment: its annotations and defaults are the declaration.

`int`, `float`, `bool`, `str`, `X | None`, `Literal[...]` are understood, also as text
(`from __future__ import annotations`); a parameter without an annotation, or with another
one, takes any value, mappings too, whose entries a task has as `optimizer.lr`.
`Annotated[X, RuntimeOnly]` does not count in the signature.  An argument `run` gets the
handle and is no parameter; `**kwargs` takes parameters beyond the declared ones.

Promises: what cannot be declared is an `ExperimentError` that names the function's file
and line.  What is not here: where the module is found (`importing.py`).
"""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

from sqlqueue.errors import ExperimentError
from sqlqueue.experiments.importing import from_root, import_module, loaded_files
from sqlqueue.experiments.run import Run
from sqlqueue.plan.nested import nest
from sqlqueue.plan.problems import did_you_mean
from sqlqueue.plan.signature import canonical
from sqlqueue.plan.task import Experiment, Kind, Parameter
from sqlqueue.plan.values import Mismatch, bring

Loaded = Callable[[dict[str, Any], Run], Mapping[str, Any]]

HANDLE: Final = "run"
"""The argument that gets the handle."""

_NAME: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_KINDS: Final[dict[Any, Kind]] = {int: "int", float: "float", bool: "bool", str: "str"}
_VARIABLE: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class RuntimeOnly:
    """Marks a parameter that does not change what is measured: `Annotated[int, RuntimeOnly]`."""


def declare(name: str, root: Path) -> Experiment:
    """The declaration of the function that `module:function` names."""
    root = root.resolve()
    printed = contextlib.redirect_stdout(sys.stderr)  # a module may print; answers stay clean
    with printed, from_root(name.partition(":")[0], root, forget=True):
        function = _find(name, root)
        return _declaration(name, function)


def files(name: str, root: Path) -> list[Path]:
    """The source files in the root that are loaded with the function."""
    root = root.resolve()
    printed = contextlib.redirect_stdout(sys.stderr)
    with printed, from_root(name.partition(":")[0], root, forget=True):
        import_module(name.partition(":")[0], root)
        return loaded_files(root)


def load(name: str, root: Path) -> Loaded:
    """The function as a child calls it: with the cell's parameters and the handle."""
    root = root.resolve()
    with from_root(name.partition(":")[0], root, forget=False):
        function = _find(name, root)
    taken = inspect.signature(function).parameters
    named = {each.name for each in taken.values() if each.kind not in _VARIABLE} - {HANDLE}
    open_ended = any(each.kind is each.VAR_KEYWORD for each in taken.values())

    def call(cell: dict[str, Any], run: Run) -> Mapping[str, Any]:
        config = nest(cell, named)
        gone = [] if open_ended else sorted(config.keys() - taken.keys())
        if gone:
            raise ExperimentError(_gone(name, gone[0]))
        arguments = {key: _shaped(value, taken.get(key)) for key, value in config.items()}
        handle = {HANDLE: run} if HANDLE in taken else {}
        found: Mapping[str, Any] = function(**arguments, **handle)
        return found

    return call


def _gone(name: str, parameter: str) -> str:
    return (
        f"{name} takes no {parameter!r} any more, but this task was added with it; put the "
        "parameter back, or run `sqlqueue init` again and cancel the old tasks"
    )


def _shaped(value: Any, declared: inspect.Parameter | None) -> Any:
    """A list where the function's own default is a tuple becomes one again."""
    is_tuple = declared is not None and isinstance(declared.default, tuple)
    return tuple(value) if is_tuple and isinstance(value, list) else value


# --- finding --------------------------------------------------------------------------


def _find(name: str, root: Path) -> Callable[..., Any]:
    module_name, _, path = name.partition(":")
    is_file = module_name.endswith(".py") and (root / module_name).is_file()
    if is_file or not _NAME.fullmatch(name):
        raise ExperimentError(_malformed(name))
    found: Any = import_module(module_name, root)
    file = getattr(found, "__file__", None) or f"module {module_name!r}"
    for part in path.split("."):
        if not hasattr(found, part):
            raise ExperimentError(_absent(found, part, file))
        found = getattr(found, part)
    _check_callable(found, name, file)
    return typing.cast(Callable[..., Any], found)


def _malformed(name: str) -> str:
    hint = ""
    if match := re.fullmatch(r"([\w./]+?)(?:\.py)?:(\w+)", name):
        hint = f" (did you mean {match[1].replace('/', '.').strip('.') + ':' + match[2]!r}?)"
    return f"found {name!r}, expected 'package.module:function'{hint}"


def _absent(owner: Any, part: str, file: str) -> str:
    functions = [key for key, each in vars(owner).items() if callable(each) and key[0] != "_"]
    hint = did_you_mean(part, functions)
    known = f"; it has {', '.join(functions[:10])}" if functions and not hint else ""
    return f"{file}: no function {part!r} in it{known}{hint}"


def _check_callable(found: Any, name: str, file: str) -> None:
    kind = None
    if inspect.isclass(found):
        kind = "a class"
    elif not callable(found):
        kind = f"a value of type {type(found).__name__}"
    elif inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found):
        kind = "an async function"
    elif inspect.isgeneratorfunction(found):
        kind = "a generator"
    if kind:
        raise ExperimentError(f"{file}: {name} is {kind}, expected a plain function")


# --- declaring ------------------------------------------------------------------------


def _declaration(name: str, function: Callable[..., Any]) -> Experiment:
    where = _where(name, function)
    try:
        taken = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise ExperimentError(f"{where} does not tell its arguments; wrap it in a def") from None
    namespace = _namespace(function)
    parameters = [
        _parameter(each, namespace, where)
        for each in taken
        if each.name != HANDLE and each.kind not in _VARIABLE
    ]
    for each in taken:
        _check_argument(each, where)
    open_ended = any(each.kind is each.VAR_KEYWORD for each in taken)
    return Experiment(name, tuple(parameters), open_ended)


def _where(name: str, function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}: {name}" if code else name


def _namespace(function: Callable[..., Any]) -> dict[str, Any]:
    inner = inspect.unwrap(function)
    inner = getattr(inner, "func", inner)  # of a functools.partial
    found: dict[str, Any] = getattr(inner, "__globals__", {})
    return found


def _check_argument(argument: inspect.Parameter, where: str) -> None:
    if argument.kind is argument.POSITIONAL_ONLY:
        cure = "parameters are given by name; remove the / from the def"
        raise ExperimentError(f"{where}: argument {argument.name!r} is positional only; {cure}")
    if argument.kind is argument.VAR_POSITIONAL:
        cure = "parameters are given by name; name them, or take **kwargs"
        raise ExperimentError(f"{where} takes *{argument.name}; {cure}")


def _parameter(argument: inspect.Parameter, namespace: dict[str, Any], where: str) -> Parameter:
    found = _annotated(argument.name, _hint(argument.annotation, namespace))
    if argument.default is argument.empty:
        return found
    if argument.default is None:
        return replace(found, default=None, optional=True)
    try:
        default = bring(found, _plain(argument.default))
        canonical(default)
    except (TypeError, RecursionError):
        kind = type(argument.default).__name__
        problem = f"the default of {argument.name!r} ({kind}) cannot be written as JSON"
        cure = "use a number, text, list or mapping, or None and make it inside"
        raise ExperimentError(f"{where}: {problem}; {cure}") from None
    except Mismatch as mismatch:
        raise ExperimentError(f"{where}: default of {argument.name!r}: {mismatch}") from None
    return replace(found, default=default)


def _plain(value: Any) -> Any:
    """Tuples as lists: JSON has no others."""
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value


def _hint(annotation: Any, namespace: dict[str, Any]) -> Any:
    """The annotation with texts in it resolved; `Any` when there is none that resolves."""
    if annotation is inspect.Parameter.empty:
        return Any
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, globalns=namespace, include_extras=True)["it"]
    except Exception:  # a name that only type checkers import, say
        return Any


def _annotated(name: str, hint: Any) -> Parameter:
    """What an annotation declares of a parameter."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        inner = _annotated(name, arguments[0])
        return replace(inner, runtime_only=any(map(_is_runtime_only, arguments[1:])))
    if origin is Literal:
        return _literal(name, arguments)
    if origin in (typing.Union, types.UnionType):
        return _union(name, arguments)
    return Parameter(name, _KINDS.get(hint, "any") if isinstance(hint, type) else "any")


def _is_runtime_only(mark: Any) -> bool:
    return mark is RuntimeOnly or isinstance(mark, RuntimeOnly)


def _literal(name: str, choices: tuple[Any, ...]) -> Parameter:
    values = tuple(each for each in choices if each is not None)
    kinds = {_KINDS.get(type(each), "any") for each in values}
    if not values or not all(type(each) in _KINDS for each in values):  # bytes, members of enums
        return Parameter(name)
    kind: Kind = kinds.pop() if len(kinds) == 1 else "any"
    return Parameter(name, kind, choices=values, optional=None in choices)


def _union(name: str, members: tuple[Any, ...]) -> Parameter:
    some = [each for each in members if each is not types.NoneType]
    optional = len(some) < len(members)
    if len(some) == 1:
        inner = _annotated(name, some[0])
        return replace(inner, optional=optional or inner.optional)
    kind: Kind = "float" if set(some) == {int, float} else "any"
    return Parameter(name, kind, optional=optional)
