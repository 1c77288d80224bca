"""How a command ends: the exit status, and one clear complaint instead of a traceback.

Promises: every error that sqlqueue raises on purpose becomes `error: message` on standard
error and its own exit status; errors of the operating system get a line that names the
file; what nobody expected gets a short line and the way to the traceback
(`SQLQUEUE_DEBUG=1`).  What is not here: what the commands do.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import Final

from sqlqueue.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    DirectoryError,
    Interrupted,
    QueueError,
    SweepError,
)
from sqlqueue.figures import plural
from sqlqueue.visible import printable_lines

DEBUG: Final = "SQLQUEUE_DEBUG"

CURES: Final = {
    errno.ENOSPC: "the disk is full: make room there, then run the same command again",
    errno.EDQUOT: "the disk quota is used up: make room there, then run the same command again",
    errno.EACCES: "this user may not do that: check who owns the file and its folder",
    errno.EPERM: "this user may not do that: check who owns the file and its folder",
    errno.EROFS: "that filesystem is mounted read-only: choose another place with --home",
    errno.EMFILE: "too many files are open: raise the limit with `ulimit -n`",
    errno.ENAMETOOLONG: "use a shorter name",
    errno.EIO: "the disk or the network filesystem failed: look at the system's log",
    errno.ESTALE: "the network filesystem lost the file: run the same command again",
}


def conclude(command: Callable[[], int]) -> int:
    """Runs a command to its exit status; whatever it raises becomes a complaint."""
    try:
        status = command()
        sys.stdout.flush()
    except BaseException as error:
        if isinstance(error, GeneratorExit):
            raise
        return _failed(error)
    return status


def _failed(error: BaseException) -> int:
    if isinstance(error, BrokenPipeError):
        return _unread()
    if os.environ.get(DEBUG) and not isinstance(error, SystemExit):
        _traceback(error)
    return _complained(error)


def _complained(error: BaseException) -> int:
    match error:
        case SystemExit():
            return error.code if isinstance(error.code, int) else EXIT_DONE
        case KeyboardInterrupt():
            notice("interrupted")
            return EXIT_INTERRUPTED
        case Interrupted():
            notice(error.message)
            return error.exit_status
        case SweepError():
            problems = complain_of_each(error.message)
            notice(f"{plural(problems, 'problem')} in the sweep files; nothing was changed")
            return error.exit_status
        case DirectoryError():
            complain_of_each(error.message)
            return error.exit_status
        case QueueError():
            complain(error.message)
            return error.exit_status
        case OSError():
            complain(os_message(error))
            return EXIT_FAILED
        case MemoryError():
            complain("out of memory")
            return EXIT_FAILED
        case UnicodeEncodeError() if error.encoding != "utf-8":
            complain(unnameable(error))
            return EXIT_FAILED
    if hasattr(error, "format_message"):
        return _misused(error)
    return _unexpected(error)


def complain_of_each(message: str) -> int:
    """Complains of every line, as an editor can jump to it; returns how many there are."""
    lines = message.splitlines()
    for line in lines:
        complain(line)
    return len(lines)


def _misused(error: BaseException) -> int:
    """A wrong command line, as typer found it."""
    message = str(error.format_message())  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    place = context.command_path if context else _typed_command()
    complain(f"{message.rstrip()}\n`{place} --help` says what it takes")
    return EXIT_USAGE


def _typed_command() -> str:
    """For errors that do not say which command they are about."""
    word = next(iter(sys.argv[1:]), "")
    return f"sqlqueue {word}" if word.isalpha() else "sqlqueue"


def _unexpected(error: BaseException) -> int:
    text = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    complain(
        f"{text}\nthis is a fault in sqlqueue; set {DEBUG}=1 and run the same command again "
        "for the traceback that a report needs"
    )
    return EXIT_FAILED


def complain(message: str) -> None:
    """One error to the person, on standard error."""
    _say(f"error: {message}")


def notice(message: str) -> None:
    """One remark to the person, on standard error: standard output is for results."""
    _say(message)


def _say(text: str) -> None:
    try:
        print(printable_lines(text), file=sys.stderr, flush=True)
    except OSError:
        return  # nobody is there to read it


def os_message(error: OSError) -> str:
    """File, what went wrong there, and what to do now."""
    where = f"{error.filename}: " if error.filename else ""
    what = (error.strerror or str(error) or type(error).__name__).lower()
    cure = CURES.get(error.errno or 0, "")
    return f"{where}{what}" + (f"; {cure}" if cure else "")


def unnameable(error: UnicodeEncodeError) -> str:
    """For file names that the system's encoding cannot say: printing replaces what it cannot."""
    return (
        f"{error.object}: the encoding of this locale ({error.encoding}) has no "
        f"{error.object[error.start : error.end]!r}, so there can be no such file name; "
        "set PYTHONUTF8=1, or a locale in UTF-8, for every command of this queue"
    )


def _traceback(error: BaseException) -> None:
    import traceback

    traceback.print_exception(error)


def _unread() -> int:
    """Whoever read our output has gone (`status | head`): say nothing more, not even at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return EXIT_FAILED
