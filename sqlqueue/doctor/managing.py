"""The manager: what its file says, whether it is there, and whether it is the right one.

Promises: the manager is asked for its status and told nothing.  What is not here: the home's
certificate (`certificate.py`), what the figures say of directories.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlqueue.doctor.finding import NOTE, PROBLEM, WARNING, Finding, kind
from sqlqueue.errors import HomeError, ManagerUnreachable, NotAuthorised, QueueError
from sqlqueue.holder import lock_holders
from sqlqueue.home import Home
from sqlqueue.worker.client import Client
from sqlqueue.worker.dial import Remote, WrongCertificate

if TYPE_CHECKING:
    import psutil

Said = Mapping[str, Any]

ASK_SECONDS: Final = 3.0
MOST_BYTES: Final = 65536
FILES_OF_ITS_OWN: Final = 200

MOST_CLOCK_SECONDS: Final = 2.0
REUSED_SECONDS: Final = 60.0
STARTS_IT: Final = "`sqlqueue serve` starts one, and tidies up; or remove what the dead one left"

DAMAGED = kind(
    "manager-file-damaged", PROBLEM, "manager.json is not what a manager writes",
    "commands and workers find no manager", command="rm -rf -- {about}",
)  # fmt: skip
DEAD = kind(
    "manager-dead", WARNING, "manager.json names a manager that is dead",
    "nobody hands out tasks or stores results; a manager that ends in good order removes the file",
    command="rm -f -- {about}",
)  # fmt: skip
OTHER = kind(
    "manager-other-program", WARNING, "manager.json names a process that is not its manager",
    "the manager died, and the system gave its number away; or the home is a copy of another",
    command="rm -f -- {about}",
)  # fmt: skip
SILENT = kind(
    "manager-silent", PROBLEM, "the manager is there and does not answer",
    "no task is handed out and no result stored",
    cure="look at what `sqlqueue serve` says; if it says nothing, end it (`kill {pid}`) and start "
    "it again: nothing that was acked is lost",
)  # fmt: skip
PAUSED = kind(
    "manager-paused", PROBLEM, "the manager is stopped (Ctrl-Z, or SIGSTOP)",
    "no task is handed out and no result stored", command="kill -CONT {pid}",
)  # fmt: skip
ELSEWHERE = kind(
    "manager-elsewhere", WARNING, "a manager on another host does not answer",
    "it may run and listen on no TCP port, or its host may be gone",
    cure="on {host}: `sqlqueue serve --port 0`, or `sqlqueue doctor` there",
)  # fmt: skip
NO_LOCK = kind(
    "manager-no-lock", PROBLEM, "the manager does not hold the home's lock",
    "somebody removed or replaced manager.lock, and nothing keeps a second manager out",
    cure="restart the manager, and never remove manager.lock",
)  # fmt: skip
VERSION = kind(
    "manager-version", WARNING, "the manager is of another version than this sqlqueue",
    "they may not understand each other", cure="restart the manager with this version",
)  # fmt: skip
FEW_FILES = kind(
    "manager-few-files", WARNING, "the manager may open few files",
    "with many workers it cannot take every connection",
    cure="restart it after `ulimit -n 65536`",
)  # fmt: skip
TCP_SILENT = kind(
    "manager-tcp-silent", WARNING, "the manager's TCP port does not answer from here",
    "workers of other hosts perhaps do not reach it", cure="look at the firewall, and at --host",
)  # fmt: skip
CERTIFICATE = kind(
    "manager-other-certificate", PROBLEM, "the manager shows another certificate than the home's",
    "workers refuse it: the certificate was exchanged while it ran, or another program listens",
    cure="restart the manager",
)  # fmt: skip
SECRET = kind(
    "manager-other-secret", PROBLEM, "the manager does not take the home's secret",
    "it was exchanged while the manager ran", cure="restart the manager",
)  # fmt: skip
ALL_INTERFACES = kind(
    "manager-all-interfaces", NOTE, "the manager listens on all interfaces",
    "whoever reaches this machine reaches its port; TLS and the secret guard it",
    cure="`sqlqueue serve --host ADDRESS` names one, if that is too many",
)  # fmt: skip
CLOCK = kind(
    "manager-clock", WARNING, "the manager's clock is not this machine's",
    "times that you see do not fit together; leases do not depend on them",
    cure="set both clocks, for example with `chronyd` or `systemd-timesyncd`",
)  # fmt: skip
GPU_TWICE = kind(
    "gpu-shared", NOTE, "several runners use one GPU",
    "they share its memory: with --slots that is meant, with two `work` commands perhaps not",
    cure="start each worker with a --gpu of its own",
)  # fmt: skip


def check(home: Home) -> tuple[list[Finding], dict[str, Any] | None]:
    """The findings, and the manager's figures if it answers."""
    if not os.path.lexists(home.manager_file):
        return [], None
    said = read(home)
    if said is None:
        return [DAMAGED.at(home.manager_file, "is no file with one JSON object")], None
    process = _process(said)
    if process is not None and process.status() == "stopped" and _is_it(home, process, said):
        return [PAUSED.at(home.path, f"pid {process.pid} is stopped", pid=process.pid)], None
    try:
        with Client(home, timeout_seconds=ASK_SECONDS) as client:
            figures = client.status()
    except (ManagerUnreachable, HomeError) as error:
        return [_absent(home, said, process, error)], None
    return [*_present(home, said, process), *_figures(figures)], figures


def read(home: Home) -> Said | None:
    """What manager.json says; None when no manager wrote that."""
    try:
        fd = os.open(home.manager_file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return None
            found = json.loads(file.read(MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _here(said: Said) -> bool:
    return bool(said.get("hostname", socket.gethostname()) == socket.gethostname())


def _process(said: Said) -> psutil.Process | None:
    """The process of this host that bears the manager's number."""
    import psutil

    try:
        return psutil.Process(int(said.get("pid", 0))) if _here(said) else None
    except (psutil.Error, ValueError, TypeError):
        return None


def _absent(home: Home, said: Said, process: psutil.Process | None, error: QueueError) -> Finding:
    """Why no manager answers."""
    pid, host = said.get("pid"), said.get("hostname")
    if not _here(said):
        return ELSEWHERE.at(home.path, f"pid {pid} on {host}: {error.message}", host=host)
    if process is None:
        return DEAD.at(home.manager_file, f"pid {pid} is no process of this machine")
    if not _is_it(home, process, said):
        return OTHER.at(home.manager_file, f"pid {pid} is {process.name()}")
    return SILENT.at(home.path, f"pid {pid}: {error.message}", pid=pid)


def _is_it(home: Home, process: psutil.Process, said: Said) -> bool:
    """Whether a process can be the manager: it bears the name, began before it wrote, and has
    files of this home open; the original's manager is none of a copy's."""
    import psutil

    try:
        began = datetime.fromisoformat(str(said.get("started_at"))).timestamp()
        named = any("sqlqueue" in word for word in process.cmdline())
        before = process.create_time() < began + REUSED_SECONDS
        return named and before and _is_in(home, process)
    except (psutil.Error, ValueError):
        return True


def _is_in(home: Home, process: psutil.Process) -> bool:
    folder = os.path.realpath(home.path)
    return any(Path(each.path).is_relative_to(folder) for each in process.open_files())


def _present(home: Home, said: Said, process: psutil.Process | None) -> Iterator[Finding]:
    from importlib.metadata import version

    if said.get("version") != version("sqlqueue"):
        yield VERSION.at(home.path, f"{said.get('version')}, this is {version('sqlqueue')}")
    if isinstance(said.get("port"), int):
        yield from _tcp(home, str(said.get("host")), int(said["port"]))
    if process is not None:
        yield from _own(home, said, process)


def _tcp(home: Home, host: str, port: int) -> Iterator[Finding]:
    """Whether the port answers, with the home's certificate."""
    from sqlqueue import keys

    address = f"{host}:{port}"
    try:
        secret, _, fingerprint = keys.owner_token(home).partition(".")
        Remote(host, port, secret, fingerprint).dial(ASK_SECONDS).close()
    except WrongCertificate:
        yield CERTIFICATE.at(address, "its fingerprint is another than that of manager.pem")
    except NotAuthorised:
        yield SECRET.at(address, "refused owner.secret")
    except OSError as error:
        yield TCP_SILENT.at(address, (error.strerror or str(error)).lower())
    except QueueError:
        return  # the home's secrets are told about elsewhere


def _own(home: Home, said: Said, process: psutil.Process) -> Iterator[Finding]:
    """What only this host can tell of its manager."""
    import psutil

    try:
        soft, _ = process.rlimit(psutil.RLIMIT_NOFILE)
        if 0 <= soft < FILES_OF_ITS_OWN:
            yield FEW_FILES.at(home.path, f"at most {soft} files, pid {process.pid}")
        open_to = {each.laddr.ip for each in process.net_connections("tcp") if each.laddr}
        if open_to & {"::", "0.0.0.0"}:
            yield ALL_INTERFACES.at(home.path, f"port {said.get('port')}, pid {process.pid}")
    except psutil.Error:
        pass
    if process.pid not in lock_holders(home):
        yield NO_LOCK.at(home.lock, f"pid {process.pid} runs without a lock on it")


def _figures(figures: Mapping[str, Any]) -> Iterator[Finding]:
    """What the manager's answer itself tells."""
    apart = abs(datetime.fromisoformat(str(figures["as_of"])).timestamp() - time.time())
    if apart > MOST_CLOCK_SECONDS + 1:  # it tells whole seconds
        yield CLOCK.at(figures["manager"]["host"], f"{apart:.0f} s apart")
    present = [each for each in figures["workers"] if each["state"] != "gone"]
    on_gpu = [each for each in present if each["device"].startswith("cuda")]
    for (host, device), count in Counter((w["host"], w["device"]) for w in on_gpu).items():
        if count > 1:
            yield GPU_TWICE.at(f"{device} on {host}", f"{count} runners")
