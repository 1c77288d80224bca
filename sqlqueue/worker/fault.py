"""How an exception in an experiment is told: which outcome it is, and what to read.

Promises: the text begins with what a person needs and leaves out sqlqueue's own frames;
running out of memory is told apart from other failures, by the name of the exception and
not by importing what defines it.  What is not here: deaths without an exception.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Final

from sqlqueue.errors import ExperimentError, QueueError
from sqlqueue.worker.metrics import text

MAX_ERROR_CHARACTERS: Final = 20_000

_OWN: Final = tuple(
    str(Path(__file__).parents[1] / each)
    for each in (
        "worker",
        "experiments/__init__.py",
        "experiments/function.py",
        "experiments/importing.py",
        "experiments/run.py",
    )
)
_MEMORY_NAMES: Final = frozenset({"MemoryError", "OutOfMemoryError", "_ArrayMemoryError"})
_MEMORY_TEXTS: Final = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "can't allocate memory",
    "RESOURCE_EXHAUSTED",
)


_MEMORY_WORDS: Final = (
    *(each.lower() for each in (*_MEMORY_NAMES, *_MEMORY_TEXTS)),
    *("out of memory", "cannot allocate memory", "std::bad_alloc"),
)
"""What programs of any language say."""


def says_memory(line: str) -> bool:
    """Whether a line that a program printed says that memory ran out."""
    return any(each in line.lower() for each in _MEMORY_WORDS)


def is_memory(error: BaseException) -> bool:
    """Whether it means that memory, the host's or the device's, ran out."""
    if _MEMORY_NAMES & {kind.__name__ for kind in type(error).__mro__}:
        return True
    return isinstance(error, RuntimeError) and any(each in text(error) for each in _MEMORY_TEXTS)


def is_missing(error: BaseException, loaded: bool) -> bool:
    """Whether the experiment, or this task's version of it, cannot be had at all.

    `loaded`: whether it was found; what it raises itself afterwards is its own.
    """
    return isinstance(error, ExperimentError) or (not loaded and isinstance(error, ImportError))


def outcome(error: BaseException) -> str:
    """The attempt's outcome, in view of what was raised."""
    return "OOM" if is_memory(error) else "FAILED"


def describe(error: BaseException) -> str:
    """What a person should read of it."""
    if isinstance(error, QueueError):
        return error.message
    if isinstance(error, SystemExit):
        said = text(error.code) if not isinstance(error.code, str) else repr(error.code)
        return shorten(f"the experiment called sys.exit({said}); expected it to return metrics")
    try:
        return shorten(_trimmed(error))
    except Exception:  # its own methods may raise anything, when it is to be told
        return f"{type(error).__name__}, which cannot be told: {text(error)}"


def _trimmed(error: BaseException) -> str:
    """The traceback without the frames through which sqlqueue called the experiment."""
    told = traceback.TracebackException.from_exception(error, compact=True)
    each: traceback.TracebackException | None = told
    while each is not None:
        frames = [frame for frame in each.stack if not frame.filename.startswith(_OWN)]
        each.stack = traceback.StackSummary.from_list(frames)
        each = each.__cause__ or each.__context__
    return "".join(told.format()).strip()


def shorten(said: str) -> str:
    """At most `MAX_ERROR_CHARACTERS`, the middle left out; printable."""
    said = said.encode("utf-8", "backslashreplace").decode()
    if len(said) <= MAX_ERROR_CHARACTERS:
        return said
    half = MAX_ERROR_CHARACTERS // 2
    left_out = len(said) - 2 * half
    return f"{said[:half]}\n[... {left_out} characters left out ...]\n{said[-half:]}"
