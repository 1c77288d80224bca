"""This machine and this process: clock, limits, memory, temporary folders, variables.

What is not here: Python's packages (`packages.py`).
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlqueue import keys
from sqlqueue.doctor.finding import NOTE, PROBLEM, WARNING, Finding, kind
from sqlqueue.errors import HomeError
from sqlqueue.home import NAME, TOKEN, VARIABLE, Home

MADE: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""No clock that is right is before this program."""
LEAST_FILES: Final = 1024
LEAST_MEMORY_BYTES: Final = 1 << 30
LEAST_TEMPORARY_BYTES: Final = 64 << 20
MOST_JUMP_SECONDS: Final = 0.5
NEW_TOKEN: Final = 'export SQLQUEUE_TOKEN="$(sqlqueue token --home {home})"'
SET_CLOCK: Final = "set the clock, for example with `chronyd` or `systemd-timesyncd`"

CLOCK = kind(
    "clock-wrong", PROBLEM, "the clock is wrong",
    "certificates seem not valid yet, and times that people see are wrong", cure=SET_CLOCK,
)  # fmt: skip
JUMPS = kind(
    "clock-jumps", WARNING, "the clock jumps",
    "leases do not depend on it; times that people see do", cure=SET_CLOCK,
)  # fmt: skip
FEW_FILES = kind(
    "files-limit", WARNING, "a process may open few files here",
    "a manager needs one for every connection", command="ulimit -S -n {files}",
)  # fmt: skip
MASK = kind(
    "umask", WARNING, "the umask is odd",
    "files are made that this user cannot use, or that every user can change",
    command="umask 022",
)  # fmt: skip
TEMPORARY = kind(
    "temporary-full", WARNING, "a temporary folder is nearly full",
    "sockets, data loaders and compilers need a little room there",
    cure="make room in {about}: `du -xhd1 {about}` says what takes it",
)  # fmt: skip
MEMORY = kind(
    "memory-low", NOTE, "little memory is available",
    "the system may kill a running child; its task then runs again",
    cure="end what needs it, or use fewer --slots",
)  # fmt: skip
STATE = kind(
    "state-folder", WARNING, "this user's state folder cannot be written",
    "it is where results are kept when neither output directory nor home can be written",
    cure="give yourself the right to write in {about}, or set XDG_STATE_HOME to another folder",
)  # fmt: skip
ELSEWHERE = kind(
    "home-variable", NOTE, "SQLQUEUE_HOME names another home than the one here",
    "commands without --home use that one", command="unset SQLQUEUE_HOME",
)  # fmt: skip
TOKEN_FORM = kind(
    "token-form", PROBLEM, "SQLQUEUE_TOKEN is no token", "`work --manager` does not start",
    command=NEW_TOKEN,
)  # fmt: skip
TOKEN_CERTIFICATE = kind(
    "token-certificate", PROBLEM, "SQLQUEUE_TOKEN names another certificate than this home's",
    "workers refuse the manager of this home; for another queue the token may be right",
    command=NEW_TOKEN,
)  # fmt: skip
TOKEN_SECRET = kind(
    "token-secret", PROBLEM, "SQLQUEUE_TOKEN has a secret that this home does not know",
    "the manager of this home refuses workers that use it", command=NEW_TOKEN,
)  # fmt: skip


def check() -> Iterator[Finding]:
    """What does not depend on a home."""
    yield from _limits()
    yield from _temporary()
    yield from _memory()


def clock(since_monotonic: float, since_wall: float) -> Iterator[Finding]:
    """The clock as it is, and what it did since the two moments."""
    now = time.time()
    if now < MADE.timestamp():
        yield CLOCK.at("this machine", f"it says {datetime.fromtimestamp(now, UTC):%Y-%m-%d}")
    jumped = (now - since_wall) - (time.monotonic() - since_monotonic)
    if abs(jumped) > MOST_JUMP_SECONDS:
        yield JUMPS.at("this machine", f"by {jumped:+.1f} s while this command ran")


def _limits() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < LEAST_FILES:
        wanted = LEAST_FILES if hard < 0 else min(max(hard, soft), 65536)
        yield FEW_FILES.at("ulimit -n", f"{soft}, the hard limit is {hard}", files=wanted)
    mask = _mask()
    if mask & 0o700 or not mask & 0o002:
        yield MASK.at("umask", f"{mask:04o}")


def _mask() -> int:
    """Without setting it, as the kernel tells it."""
    for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o022


def _temporary() -> Iterator[Finding]:
    named = os.environ.get("TMPDIR", "")  # Python itself passes over one that is full
    for folder in dict.fromkeys((named, tempfile.gettempdir(), "/dev/shm")):
        if not folder or not Path(folder).is_dir():
            continue
        found = os.statvfs(folder)
        if (free := found.f_bavail * found.f_frsize) < LEAST_TEMPORARY_BYTES:
            yield TEMPORARY.at(folder, f"{free >> 20} MiB are free")


def _memory() -> Iterator[Finding]:
    import psutil

    free, swap = psutil.virtual_memory().available, psutil.swap_memory().free
    if free + swap < LEAST_MEMORY_BYTES:
        yield MEMORY.at("memory", f"{free >> 20} MiB, and {swap >> 20} MiB of swap")


def state_folder() -> Iterator[Finding]:
    """Whether the last place for results can be written, or made."""
    from sqlqueue.worker.place import state_folder as folder_of

    folder = folder_of()
    above = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        yield STATE.at(folder, f"{above} cannot be written")


def variables(home: Home, named: bool) -> Iterator[Finding]:
    """`named`: the home was given with --home.  No token is ever shown."""
    here = Path(NAME).absolute()
    chosen = os.environ.get(VARIABLE)
    if chosen and not named and Home(here).exists() and not _same(here, home.path):
        yield ELSEWHERE.at(VARIABLE, f"{home.path}, and there is {here}")
    if token := os.environ.get(TOKEN, "").strip():
        yield from _token(home, token)


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _token(home: Home, token: str) -> Iterator[Finding]:
    secret, _, fingerprint = token.partition(".")
    if not secret or len(fingerprint) != 64:
        yield TOKEN_FORM.at(TOKEN, "is not of the form SECRET.FINGERPRINT", home=home.path)
        return
    try:
        known = keys.load(home)
    except HomeError:
        return  # nothing to compare it with
    if fingerprint != known.fingerprint:
        found = f"{fingerprint[:16]}..., not {known.fingerprint[:16]}..."
        yield TOKEN_CERTIFICATE.at(TOKEN, found, home=home.path)
    elif known.role_of(token) is None:
        yield TOKEN_SECRET.at(TOKEN, "neither the worker's nor the owner's", home=home.path)
