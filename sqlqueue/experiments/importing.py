"""Imports a module of the user's from the root, and says clearly why when it cannot.

Promises: the root comes first, so a module there wins over an installed one of the same
name, even one that is imported already; afterwards `sys.path`, and such a namesake, are as
before.  Whatever goes wrong in the user's module is one `ExperimentError` with file and
line of the failure.  What is not here: what is looked for in the module (`function.py`).
"""

from __future__ import annotations

import contextlib
import importlib
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from sqlqueue.errors import ExperimentError
from sqlqueue.plan.problems import did_you_mean

_INSTALLED: Final = ("site-packages", "dist-packages")
_NOT_USERS: Final = ("<frozen ", str(Path(__file__)))


@contextlib.contextmanager
def from_root(name: str, root: Path, forget: bool) -> Iterator[None]:
    """Within, modules are found in the root first.

    `forget`: modules of the root that were imported meanwhile are dropped again, so that
    the next look sees the files as they are then; what they do to signals is undone.
    """
    before, modules, heeded = list(sys.path), dict(sys.modules), _handlers() if forget else {}
    aside = _set_aside(name.partition(".")[0], root)
    sys.path[:] = [str(root), *(each for each in before if each != str(root))]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before
        _heed(heeded)
        if forget:
            for each in _loaded_from(root) - modules.keys():
                del sys.modules[each]
        if aside:
            _drop(name.partition(".")[0])
            sys.modules.update(aside)


def _handlers() -> dict[int, Any]:
    return {int(each): signal.getsignal(each) for each in signal.valid_signals()}


def _heed(handlers: dict[int, Any]) -> None:
    """A module that was only looked at decides nothing for this process, and for its children."""
    for number, handler in handlers.items():
        if handler is not None and signal.getsignal(number) != handler:
            with contextlib.suppress(OSError, ValueError):  # another thread's business
                signal.signal(number, handler)


def _set_aside(top: str, root: Path) -> dict[str, ModuleType]:
    """Takes out a module that bears the name of one in the root and is not that one."""
    known = sys.modules.get(top)
    in_root = (root / f"{top}.py").is_file() or (root / top).is_dir()
    if known is None or not in_root or _is_from(known, root):
        return {}
    return _drop(top)


def _drop(top: str) -> dict[str, ModuleType]:
    names = [each for each in sys.modules if each == top or each.startswith(f"{top}.")]
    return {each: sys.modules.pop(each) for each in names}


def _loaded_from(root: Path) -> set[str]:
    return {name for name, module in list(sys.modules.items()) if _is_from(module, root)}


def loaded_files(root: Path) -> list[Path]:
    """The files of all modules that were loaded from the root."""
    found = (getattr(sys.modules[name], "__file__", None) for name in _loaded_from(root))
    return [Path(each) for each in found if isinstance(each, str)]


def _is_from(module: ModuleType, root: Path) -> bool:
    """Whether a module's file, or its folder, lies in the root and is not installed there.

    Asked of thousands of modules between two tasks: of most a look at how the path begins is all.
    """
    place = getattr(module, "__file__", None)
    if not isinstance(place, str):
        place = next((each for each in _folders(module) if isinstance(each, str)), "")
    if not place.startswith(str(root)) or not Path(place).is_relative_to(root):
        return False
    return not any(each in Path(place).parts for each in _INSTALLED)


def _folders(module: ModuleType) -> list[object]:
    """The folders of a package; some modules make up attributes, `__path__` among them."""
    try:
        return list(getattr(module, "__path__", []))
    except TypeError:
        return []


def import_module(name: str, root: Path) -> ModuleType:
    """The module; call within `from_root`.  Raises `ExperimentError`."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise ExperimentError(_missing(name, root)) from None
        raise ExperimentError(_failure(name, error)) from None
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:
        raise ExperimentError(_failure(name, error)) from None


def _missing(name: str, root: Path) -> str:
    path = Path(*name.split("."))
    there = [each.relative_to(root).with_suffix("") for each in (root / path).parent.glob("*.py")]
    hint = did_you_mean(name, (".".join(each.parts) for each in there))
    return (
        f"no module {name!r}: expected {root / path}.py, or an installed module; "
        f"modules are found from {root}{hint}"
    )


def _failure(name: str, error: BaseException) -> str:
    """What the user's module raised while it was imported, and where."""
    if isinstance(error, SystemExit):
        cause = (
            f"it called sys.exit({error.code!r}); put what a script does below "
            "`if __name__ == '__main__':`"
        )
    else:
        cause = f"{type(error).__name__}: {_said(error)}"
    return f"module {name!r} cannot be imported: {_place(error)}{cause}"


def _said(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return str(error.msg)
    try:
        return " ".join(str(error).split())
    except Exception:  # the user's own exception, whose text fails
        return "(no text)"


def _place(error: BaseException) -> str:
    """`file:line: ` of the innermost frame that is the user's or a library's."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: "
    frames = [
        f"{frame.filename}:{frame.lineno}: "
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_NOT_USERS) and frame.filename != importlib.__file__
    ]
    return frames[-1] if frames else ""
