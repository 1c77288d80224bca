"""Results that no manager acked yet, as files: the format, and how to read one safely.

One file per attempt, `unsubmitted/<task_id>-<attempt>.json`, one JSON object:

    format        1
    queue         the id of the queue (home's queue.json) that the task belongs to
    task_id, signature, attempt, worker_id, host, device, seconds, code_version,
    log_file, result_data
                  the fields of the protocol's `submit_result`, with its types

so that whoever finds one can hand it in.  Promises: a file that `scan` yields is a
regular file of this user, of a sane size and valid; no symbolic link is ever followed; a
file is removed only while it still holds the result that was handed in.  Worker and
manager both use it.  What is not here: where such folders are, and when to look.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from sqlqueue import protocol
from sqlqueue.disk import Disk
from sqlqueue.errors import ProtocolError
from sqlqueue.protocol import MAX_MESSAGE_BYTES, SubmitResult
from sqlqueue.visible import printable

FOLDER: Final = "unsubmitted"
FORMAT: Final = 1
MAX_FILE_BYTES: Final = MAX_MESSAGE_BYTES
MAX_NAME_BYTES: Final = 220

Rejected = Callable[[Path, str], None]


def safe_name(name: str) -> str:
    """`name`, if it can be one component of a path; raises `ProtocolError` otherwise."""
    if name in ("", ".", "..") or "/" in name or "\\" in name or printable(name) != name:
        raise ProtocolError(
            f"{name[:100]!r} cannot be the name of a file; expected a plain task id"
        )
    if len(os.fsencode(name)) > MAX_NAME_BYTES:
        raise ProtocolError(f"a task id of {len(name)} characters is too long for a file name")
    return name


def file_name(result: SubmitResult) -> str:
    return safe_name(f"{safe_name(result.task_id)}-{result.attempt or 0}.json")


def encode(result: SubmitResult, queue: str) -> bytes:
    """The content of the file."""
    fields = msgspec.to_builtins(result)
    fields.pop("type", None)
    return json.dumps({"format": FORMAT, "queue": queue, **fields}).encode() + b"\n"


def decode(data: bytes) -> tuple[str, SubmitResult]:
    """The queue's id and the result; raises `ProtocolError` saying what is wrong."""
    fields = _fields(data)
    if fields.get("format") != FORMAT:
        raise ProtocolError(f"format {fields.get('format')!r}; this version reads {FORMAT}")
    line = json.dumps({**fields, "type": "submit_result"}).encode()
    result = protocol.decode_request(line)
    if not isinstance(result, SubmitResult):
        raise ProtocolError("not a result")
    return str(fields.get("queue", "")), result


def _fields(data: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not one JSON object: {error}") from None
    if not isinstance(fields, dict):
        raise ProtocolError("not one JSON object")
    return fields


def write(folder: Path, result: SubmitResult, queue: str, disk: Disk | None = None) -> Path:
    """Writes the result durably into `folder`, which is made if need be; raises `OSError`."""
    path, disk = folder / file_name(result), disk or Disk()
    if not folder.parent.is_dir():
        disk.make_folders(folder.parent)
    disk.make_folders(folder, 0o700)
    disk.write_beside(path, encode(result, queue), 0o600)
    return path


def scan(
    folder: Path, queue: str | None = None, rejected: Rejected | None = None
) -> Iterator[tuple[Path, SubmitResult]]:
    """The results that lie in `folder`, of this queue when one is named.

    Nothing when there is no such folder.  A file that is no result is left alone;
    `rejected` hears of it, and why.
    """
    for path in _files(folder):
        try:
            found, result = decode(read(path))
        except FileNotFoundError:
            continue
        except (OSError, ProtocolError) as error:
            if rejected is not None:
                rejected(path, str(error))
            continue
        if queue is None or found == queue:
            yield path, result


def _files(folder: Path) -> list[Path]:
    """Names that end as results do; none when `folder` is a symbolic link or not there."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        with os.scandir(fd) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(".json"))
    finally:
        os.close(fd)
    return [folder / name for name in names]


def read(path: Path) -> bytes:
    """The content of a regular file of this user; raises `OSError` or `ProtocolError`."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise ProtocolError("not a regular file")
        if found.st_uid != os.geteuid():
            raise ProtocolError(f"belongs to user {found.st_uid}, not to {os.geteuid()}")
        if found.st_size > MAX_FILE_BYTES:
            raise ProtocolError(f"{found.st_size} bytes; a result has at most {MAX_FILE_BYTES}")
        return file.read(MAX_FILE_BYTES + 1)


def remove(path: Path, result: SubmitResult, disk: Disk | None = None) -> bool:
    """Removes the file if it still holds `result`; says whether it did.  Never raises."""
    disk = disk or Disk()
    try:
        queue, found = decode(read(path))
        _, same = decode(encode(result, queue))  # as it reads once it was in a file
        if encode(found, queue) != encode(same, queue):
            return False
        disk.unlink(path)
        disk.fsync_dir(path.parent)
    except (OSError, ProtocolError):
        return False
    return True
