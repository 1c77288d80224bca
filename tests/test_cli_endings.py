"""How commands end: one clear complaint, the right exit status, never a traceback."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sqlqueue import errors, interrupts, logs, shell
from sqlqueue.sweep_files import MAX_FILE_BYTES, read_files
from support import Cli, sqlqueue_command


def raising(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (errors.UsageError("x.yaml:3: no"), 2, "error: x.yaml:3: no\n"),
        (errors.QueueError("no"), 1, "error: no\n"),
        (errors.ManagerUnreachable(), 1, "error: No manager answers.\n"),
        (errors.Interrupted("stopped"), 130, "stopped\n"),
        (errors.SweepError("a:1: b\nc:2: d"), 2, "error: a:1: b\nerror: c:2: d\n2 problems in"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/queue.db"), 1,
         "error: /x/queue.db: no space left on device; the disk is full: make room"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 1,
         "error: /x: permission denied; this user may not do that"),
        (OSError("odd"), 1, "error: odd\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (MemoryError(), 1, "error: out of memory\n"),
        (ValueError("boom"), 1, "error: ValueError: boom\nthis is a fault in sqlqueue; set"),
        (AssertionError(), 1, "error: AssertionError:\n"),
    ],
)  # fmt: skip
def test_every_error_is_one_complaint(
    error: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell.conclude(raising(error)) == status
    told = capsys.readouterr()
    assert told.err.startswith(said)
    assert told.out == ""
    assert "Traceback" not in told.err


def test_the_traceback_is_there_for_who_asks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(shell.DEBUG, "1")
    assert shell.conclude(raising(ValueError("boom"))) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_status_passes() -> None:
    assert shell.conclude(lambda: 1) == 1
    assert shell.conclude(raising(SystemExit(2))) == 2


def test_log_lines_say_the_level_only_where_it_matters() -> None:
    def line(level: int) -> str:
        return logs.Lines().format(logging.LogRecord("sqlqueue", level, "", 0, "m", None, None))

    assert line(logging.INFO).split(" ", 1)[1] == "m"
    assert line(logging.WARNING).split(" ", 1)[1] == "warning: m"


AT_THE_END = "from sqlqueue import shell; raise SystemExit(shell.conclude(lambda: print(1) or 0))"


@pytest.mark.parametrize(
    "command",
    [sqlqueue_command("--help"), [sys.executable, "-c", AT_THE_END]],
    ids=["while it prints", "when it ends"],
)
def test_a_reader_that_leaves_is_no_fault(cli: Cli, command: list[str]) -> None:
    """As `sqlqueue --help | true`, with a pipe that certainly nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    buffered = {key: each for key, each in cli.environment.items() if key != "PYTHONUNBUFFERED"}
    with os.fdopen(writer, "wb") as nobody:
        done = subprocess.run(command, stdout=nobody, stderr=subprocess.PIPE, env=buffered)
    assert (done.returncode, done.stderr) == (1, b"")


# --- Ctrl-C -------------------------------------------------------------------------


def test_the_first_interrupt_waits_for_the_check() -> None:
    with interrupts.deferred() as check:
        check()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            check()


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_the_second_interrupt_does_not_wait(number: signal.Signals) -> None:
    with interrupts.deferred(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
        signal.raise_signal(number)


def test_the_handlers_are_put_back() -> None:
    before = [signal.getsignal(each) for each in interrupts.SIGNALS]
    with interrupts.deferred():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(each) for each in interrupts.SIGNALS] == before


# --- reading sweep files -----------------------------------------------------------------


def test_every_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: caf\xe9\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "long.yaml").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    names = ["latin.yaml", "folder", "long.yaml", "loop.yaml", "gone.yaml", "x*.yaml"]
    texts, lines = read_files([tmp_path / name for name in names])
    assert texts == []
    assert len(lines) == len(names)
    for line, said in zip(
        lines,
        ["latin.yaml:2: not text in UTF-8 (byte 0xe9)", "folder: is a folder", "16 MiB",
         "loop.yaml: cannot be read", "gone.yaml: no such file", "no file matches"],
        strict=True,
    ):  # fmt: skip
        assert said in line


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("\ufeffa: 1\n", encoding="utf-8")
    (tmp_path / "b.yaml").symlink_to("a.yaml")
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml", tmp_path / "." / "a.yaml"]
    (found,), troubles = read_files(files)
    assert (found.name, found.text, troubles) == (str(tmp_path / "a.yaml"), "a: 1\n", [])
