"""Sweep files from the disk to text, and those that they extend.

Promises: of every file that cannot be read it is told what is wrong and what to do, once; a
file named twice is read once; nothing of unbounded size, number or depth is read, and no
circle followed.  What is not here: what the text means (`plan/`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from sqlqueue.errors import SweepError
from sqlqueue.plan.extends import Source, wanted
from sqlqueue.visible import printable

MAX_FILE_BYTES: Final = 16 * 1024 * 1024

MAX_BASES: Final = 100
"""Files that one file may extend, directly or not."""
MAX_DEPTH: Final = 20
"""Steps from a file to one that it extends by way of others."""

Text = Source
"""A sweep file: its name as given, what stands in it, and in the files that it extends."""


def read_files(files: Sequence[Path]) -> tuple[list[Text], list[str]]:
    """The text of each file, a file named twice only once; and what cannot be read."""
    reader = _Reader(files)
    texts = [found for path in _distinct(files) if (found := reader.source(path))]
    return texts, list(reader.troubles)


class _Reader:
    """Reads each file once, under the name by which a person gave it, if one did."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.names = {os.path.realpath(path): path for path in reversed(files)}
        self.texts: dict[str, str | None] = {}
        self.extended: dict[str, list[tuple[str, int]]] = {}
        self.troubles: dict[str, None] = {}

    def source(self, path: Path) -> Source | None:
        """The file with its bases; None, and a trouble, when it cannot be read."""
        text = self._text(path, "")
        if text is None:
            return None
        chain = _Chain(self)
        chain.walk(path, ())
        bases = tuple(chain.found.values())[:-1]
        return Source(str(path), text, bases, chain.whole)

    def _text(self, path: Path, where: str) -> str | None:
        """What stands in a file; `where` it is extended."""
        real = os.path.realpath(path)
        if real not in self.texts:
            self.texts[real] = None
            try:
                self.texts[real] = _read(path)
                self.extended[real] = wanted(self.texts[real] or "")
            except SweepError as error:
                self.tell(where + error.message)
        return self.texts[real]

    def tell(self, trouble: str) -> None:
        self.troubles[printable(trouble)] = None


class _Chain:
    """The bases of one file, what holds least first, each once."""

    def __init__(self, reader: _Reader) -> None:
        self.reader = reader
        self.found: dict[str, tuple[str, str]] = {}
        self.bytes = 0
        self.whole = True

    def walk(self, path: Path, above: tuple[str, ...]) -> None:
        """The bases of a file that was read, then the file itself."""
        real = os.path.realpath(path)
        for name, line in self.reader.extended[real]:
            where = f"{path}:{line}: key 'extends': "
            self._base(path, name, where, (*above, real))
        text = self.reader.texts[real] or ""
        self.found[real] = (str(path), text)
        self.bytes += len(text)

    def _base(self, path: Path, name: str, where: str, above: tuple[str, ...]) -> None:
        base = _beside(path, name)
        real = os.path.realpath(base)
        base = self.reader.names.get(real, base)
        if real in self.found:
            return
        trouble = self._refused(base, real, above)
        if trouble is None and self.reader._text(base, where) is not None:
            self.walk(base, above)
            return
        self.whole = False
        if trouble is not None:
            self.reader.tell(where + trouble)

    def _refused(self, base: Path, real: str, above: tuple[str, ...]) -> str | None:
        """Why a base is not to be read."""
        if not os.path.lexists(base):
            return f"no such file: {base}; name it relative to the folder of this file"
        if real in above:
            circle = [*above[above.index(real) :], real]
            return f"goes in a circle: {' -> '.join(Path(each).name for each in circle)}; cut it"
        if len(above) > MAX_DEPTH:
            return f"extends files by more than {MAX_DEPTH} steps; use fewer"
        if len(self.found) >= MAX_BASES:
            return f"found more than {MAX_BASES} files below it, expected fewer"
        if self.bytes > MAX_FILE_BYTES:
            return f"together longer than {MAX_FILE_BYTES >> 20} MiB; not a sweep file"
        return None


def _beside(path: Path, name: str) -> Path:
    """The file that `path` names, as short as can be."""
    joined = path.parent / name.replace("\0", "")
    short = Path(os.path.normpath(joined))
    return short if os.path.realpath(short) == os.path.realpath(joined) else joined


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
