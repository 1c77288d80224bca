"""Which host this is, and where a home stands: what a note in a home says of its writer.

A note is a JSON object in a file of the home (`manager.lock`, `manager.json`), or in its
database.  A home can be copied, notes and all, and then they speak of another place.
Promises: reads only.  What is not here: what is done about it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from sqlqueue.filesystems import on_network

Note = Mapping[str, Any]

_MACHINE: Final = Path("/etc/machine-id")


@dataclass(frozen=True, slots=True)
class Place:
    """A home's folder on a host, as notes say it.

    `inode`: a folder keeps it when it is renamed, and a copy has another.
    """

    hostname: str
    machine: str
    home: str
    inode: int

    def as_note(self) -> dict[str, Any]:
        return asdict(self)


def place_of(folder: Path) -> Place:
    """Where that home is now; raises `OSError` when it is not there."""
    inode = folder.stat().st_ino
    return Place(socket.gethostname(), machine(), os.path.realpath(folder), inode)


@cache
def machine() -> str:
    """What tells this machine from others of its name; empty where the system has nothing."""
    with suppress(OSError, ValueError):
        return _MACHINE.read_text("ascii").strip()
    return ""


def here(note: Note) -> bool:
    """Whether the note was written on this very host; one that names none was."""
    if note.get("hostname", socket.gethostname()) != socket.gethostname():
        return False
    return one_machine(note)


def one_machine(note: Note) -> bool:
    """Whether it was this machine, which may have had another name then."""
    known = str(note.get("machine") or "")
    if known and machine():
        return known == machine()
    return bool(note.get("hostname", socket.gethostname()) == socket.gethostname())


def speaks_of(note: Note, folder: Path) -> bool:
    """Whether a note that lies in the home is of this home, and not of one it is a copy of.

    The same path, or the same folder: hosts may see a shared folder at different paths.
    """
    if "home" not in note:
        return True
    with suppress(OSError):
        same_folder = note.get("inode") == folder.stat().st_ino
        return same_folder or note["home"] == os.path.realpath(folder)
    return False


def stays(note: Note, folder: Path) -> bool:
    """Whether the home never left the place that the note names, except by renaming."""
    place = place_of(folder)
    if one_machine(note):
        return note.get("home") == place.home or note.get("inode") == place.inode
    shared = on_network(folder)
    return shared and speaks_of(note, folder)


def left(note: Note) -> bool:
    """Whether nothing stands any more where the note says that the home was."""
    return one_machine(note) and not os.path.lexists(str(note.get("home")))
