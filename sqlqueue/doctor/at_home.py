"""The home folder: what it is, whose it is, who can get at it, what lies about in it.

What is not here: its filesystem, the database in it, its manager, what was salvaged.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlqueue import keys
from sqlqueue.doctor.finding import NOTE, PROBLEM, WARNING, Finding, kind
from sqlqueue.doctor.probe import PREFIX
from sqlqueue.errors import HomeError
from sqlqueue.figures import plural
from sqlqueue.home import Home

LONGEST_SOCKET_BYTES: Final = 100
"""As the manager decides: a longer path has its socket elsewhere."""
LEFT_SECONDS: Final = 3600.0
SECRETS: Final = (keys.CERTIFICATE, keys.OWNER, keys.WORKER)
PRIVATE: Final = (*SECRETS, "manager.sock")
DATABASE: Final = ("queue.db", "queue.db-wal", "queue.db-shm", "queue.db-journal")
FOLDERS: Final = ("logs", "attempts", "checkpoints", "salvage", "unsubmitted", "workers")

MISSING = kind(
    "home-missing", NOTE, "there is no queue here", "nothing else about a home can be told",
    cure="`sqlqueue init FILES...` makes one; or name the home with --home",
)  # fmt: skip
NOT_A_HOME = kind(
    "home-damaged", PROBLEM, "queue.json is missing or cannot be read",
    "it says which queue this is; without it every command refuses the home",
    cure="put queue.json back from a backup: {{\"format\": 1, \"queue\": ID}}, where ID stands in "
    "the .sqlqueue.json of an output directory",
)  # fmt: skip
UNREADABLE = kind(
    "home-unreadable", PROBLEM, "this user cannot look into the home",
    "no command works on it", command="chmod u+rwx {about}",
)  # fmt: skip
OWNER = kind(
    "home-owner", PROBLEM, "something in the home belongs to another user",
    "that user can read secrets and change the queue, and this one perhaps cannot",
    command="chown -R {user} {home}",
)  # fmt: skip
OPEN = kind(
    "home-open", PROBLEM, "other users can get into the home",
    "the secrets and the socket in it give the whole queue to whoever reaches them",
    command="chmod 700 {about}",
)  # fmt: skip
OPEN_FILE = kind(
    "home-file-open", PROBLEM, "other users can get at a file that must be private",
    "who has the secret of a queue can use it; who can write the database can change it",
    command="chmod 600 {about}",
)  # fmt: skip
SECRET_MISSING = kind(
    "home-secret-missing", PROBLEM, "a secret or the certificate is missing",
    "the manager does not start, and workers of other hosts get no token",
    command="sqlqueue token --home {home} > /dev/null",
)  # fmt: skip
SECRET_DAMAGED = kind(
    "home-secret-damaged", PROBLEM, "a secret or the certificate cannot be used",
    "the manager does not start; a new one means new tokens for workers of other hosts",
    command="rm -rf -- {about} && sqlqueue token --home {home} > /dev/null",
)  # fmt: skip
LONG = kind(
    "home-long-path", NOTE, "the home's path is too long for a Unix socket",
    "the manager puts its socket into a private folder under the temporary directory",
    cure="nothing must be done, as long as nobody empties the temporary directory",
)  # fmt: skip
SYMLINK = kind(
    "home-symlink", NOTE, "the home is a symbolic link",
    "relative output directories start beside the link, not beside the folder that it leads to",
    cure="nothing must be done if that is what you mean",
)  # fmt: skip
OPEN_ROOM = kind(
    "home-in-open-folder", WARNING, "any user may rename what lies beside the home",
    "somebody could put another home in its place", command="chmod o-w {about}",
)  # fmt: skip
LEFTOVER = kind(
    "home-leftover", NOTE, "temporary files of commands that died lie about",
    "they only take room", command="rm -rf -- {files}",
)  # fmt: skip


def refuse(home: Home) -> None:
    """Raises `HomeError` when what is named as a home never was one."""
    if home.path.is_dir():
        names = {each.name for each in home.path.iterdir()} if _readable(home.path) else set()
        ours = {"queue.json", "manager.lock", "manager.json", *PRIVATE, *DATABASE, *FOLDERS}
        if names and not names & ours:
            raise HomeError(f"{home.path}: not a sqlqueue home; name one with --home")
    elif os.path.lexists(home.path) and not home.path.is_symlink():
        raise HomeError(f"{home.path}: is a file; name a folder with --home")


def check(home: Home) -> Iterator[Finding]:
    """Everything about the home folder."""
    if not home.path.is_dir():
        yield MISSING.at(home.path, "no such folder")
        return
    yield from _place(home)
    yield from _folder(home)
    if not _readable(home.path):
        return
    yield from _identity(home)
    yield from _secrets(home)
    yield from _others(home)
    yield from _left(home)


def _readable(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK)


def _place(home: Home) -> Iterator[Finding]:
    if len(os.fsencode(home.socket)) > LONGEST_SOCKET_BYTES:
        yield LONG.at(home.path, f"{len(os.fsencode(home.socket))} bytes with the socket's name")
    if home.path.is_symlink():
        yield SYMLINK.at(home.path, f"leads to {home.path.resolve()}")
    mode = home.root.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        yield OPEN_ROOM.at(home.root, f"its mode is {stat.S_IMODE(mode):04o}")


def _folder(home: Home) -> Iterator[Finding]:
    found = home.path.stat()
    if found.st_uid != os.geteuid():
        yield _owner(home, home.path, found.st_uid)
    if stat.S_IMODE(found.st_mode) & 0o077:
        yield OPEN.at(home.path, f"its mode is {stat.S_IMODE(found.st_mode):04o}, not 0700")
    if found.st_mode & stat.S_IRWXU != stat.S_IRWXU or not _readable(home.path):
        yield UNREADABLE.at(home.path, f"its mode is {stat.S_IMODE(found.st_mode):04o}, not 0700")


def _owner(home: Home, path: Path, user: int) -> Finding:
    mine = os.geteuid()
    return OWNER.at(path, f"belongs to user {user}, this is {mine}", user=mine, home=home.path)


def _identity(home: Home) -> Iterator[Finding]:
    try:
        home.queue_id()
    except (HomeError, RecursionError) as error:
        yield NOT_A_HOME.at(home.identity_file, _short(str(error)))


def _secrets(home: Home) -> Iterator[Finding]:
    for name in SECRETS:
        path = home.path / name
        if not os.path.lexists(path):
            yield SECRET_MISSING.at(path, "no such file", home=home.path)
        elif not _open_to_others(path) and (trouble := _unusable(home, name)):
            yield SECRET_DAMAGED.at(path, trouble, home=home.path)


def _unusable(home: Home, name: str) -> str | None:
    """What is wrong with the content of a secret."""
    if not (home.path / name).is_file():
        return "is not a file"
    try:
        READERS[name](home)
    except HomeError as error:
        if str(home.path / name) in error.message:
            return _short(error.message)
    return None


READERS: Final = {
    keys.CERTIFICATE: keys.fingerprint,
    keys.OWNER: keys.owner_token,
    keys.WORKER: keys.worker_token,
}


def _others(home: Home) -> Iterator[Finding]:
    """Owner and mode of what must be private."""
    for name in (*PRIVATE, *DATABASE, "queue.json", "manager.json", *FOLDERS):
        path = home.path / name
        if not os.path.lexists(path):
            continue
        if (user := path.lstat().st_uid) != os.geteuid() == home.path.stat().st_uid:
            yield _owner(home, path, user)
        forbidden = 0o077 if name in PRIVATE else 0o022
        if _open_to_others(path, forbidden):
            yield OPEN_FILE.at(path, f"its mode is {stat.S_IMODE(path.stat().st_mode):04o}")


def _open_to_others(path: Path, forbidden: int = 0o077) -> bool:
    return path.exists() and not path.is_dir() and bool(path.stat().st_mode & forbidden)


def _left(home: Home) -> Iterator[Finding]:
    """Only what has lain for a while: a command may be at work."""
    limit = time.time() - LEFT_SECONDS
    temporary = sorted([*home.path.glob(".*.tmp"), *home.path.glob(f"{PREFIX}*")])
    old = [each for each in temporary if each.lstat().st_mtime < limit]
    if old:
        yield LEFTOVER.at(home.path, plural(len(old), "temporary file"), files=old)


def _short(message: str) -> str:
    return message.partition("\n")[0]
