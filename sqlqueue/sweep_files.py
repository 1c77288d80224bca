"""Sweep files from the disk to text.

Promises: of every file that cannot be read it is told what is wrong and what to do; a file
named twice is read once; nothing of unbounded size is read.  What is not here: what the
text means (`plan/`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from sqlqueue.errors import SweepError

MAX_FILE_BYTES: Final = 16 * 1024 * 1024

Text = tuple[str, str]
"""A sweep file: its name as given, and what stands in it."""


def read_files(files: Sequence[Path]) -> tuple[list[Text], list[str]]:
    """The text of each file, a file named twice only once; and what cannot be read."""
    texts: list[Text] = []
    troubles: list[str] = []
    for path in _distinct(files):
        try:
            texts.append((str(path), _read(path)))
        except SweepError as error:
            troubles.append(error.message)
    return texts, troubles


def _distinct(files: Iterable[Path]) -> list[Path]:
    distinct: dict[str, Path] = {}
    for path in files:
        distinct.setdefault(os.path.realpath(path), path)
    return list(distinct.values())


def _read(path: Path) -> str:
    try:
        if path.is_dir():
            raise SweepError(f"{path}: is a folder; name the sweep files in it: {path}/*.yaml")
        data = _bytes_of(path)
    except FileNotFoundError:
        raise SweepError(_missing(path)) from None
    except OSError as error:
        raise SweepError(f"{path}: cannot be read: {error.strerror}") from None
    return decoded(path, data)


def _bytes_of(path: Path) -> bytes:
    """At most one byte too many; opening neither waits for a pipe nor wakes a device."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        kind = os.fstat(fd).st_mode
        if not stat.S_ISREG(kind):
            raise SweepError(f"{path}: is a pipe or a device; save what it holds as a file first")
        return file.read(MAX_FILE_BYTES + 1)


def _missing(path: Path) -> str:
    if any(sign in str(path) for sign in "*?["):
        return f"{path}: no file matches this pattern"
    return f"{path}: no such file; sweep files are named relative to {Path.cwd()}"


def decoded(path: Path, data: bytes) -> str:
    """The text of a sweep file; raises `SweepError`."""
    if len(data) > MAX_FILE_BYTES:
        raise SweepError(f"{path}: longer than {MAX_FILE_BYTES >> 20} MiB; not a sweep file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SweepError(
            f"{path}:{line}: not text in UTF-8 (byte {data[error.start]:#04x}); "
            "sweep files are YAML text: save it as UTF-8"
        ) from None
