"""`sqlqueue logs`: the output of an attempt, one that runs, one that is elsewhere or gone.

What is not here: what a terminal may show and cut logs (`test_captured_shown.py`).
"""

from __future__ import annotations

import os
import pty
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from acceptance import SECONDS, Study

from support import sqlqueue_command, wait_until

NOISY = r"""
def noisy(seed: int) -> dict:
    import os
    os.write(1, b"\x1b[32mgreen\x1b[0m \x1b]0;owned\x07 \xff 10%\r20%\n")
    os.write(2, b"to standard error\n")
    return {"value": seed}
"""


def one(study: Study, function: str, **settings: object) -> str:
    return study.write("a.yaml", "results", function, combinations={"seed": [1]}, **settings)


def follow(study: Study, *options: str) -> tuple[subprocess.Popen[bytes], Path]:
    """`logs -f`, left running, and the file of all that it says."""
    output = study.root / "followed"
    process = study.cli.start("logs", "grid_0_1", "--follow", *options, output=output)
    study.workers.append(process)
    return process, output


def says(output: Path, text: str) -> None:
    wait_until(lambda: text in output.read_text(), SECONDS, f"{text!r} from logs")


def test_what_an_attempt_printed(study: Study) -> None:
    study.set_up(one(study, "fail_unless_fixed", max_attempts=2))
    refused = study.cli("logs", "grid_0_1")
    assert refused.returncode == 1
    assert "grid_0_1 is PENDING: no attempt has begun yet; --follow waits" in refused.stderr
    study.manager.start()
    study.work()
    done = study.cli("logs", "grid_0_1")
    assert done.returncode == 0
    log = study.home.logs / "grid_0_1" / "2.log"
    assert done.stdout == log.read_text()
    assert done.stdout.startswith("cell 1\n")
    assert "grid_0_1 attempt 2 on" in done.stderr
    assert "FAILED after" in done.stderr
    first = study.cli("logs", "grid_0_1", "--attempt", "1", "--tail", "1")
    assert first.stdout == "KeyError: 'poison'\n"
    assert "attempt 1 on" in first.stderr


def test_what_is_not_there_is_told(study: Study) -> None:
    study.set_up(one(study, "fail_unless_fixed", max_attempts=1))
    study.manager.start()
    study.work()
    wrong = study.cli("logs", "grid_0_1", "--attempt", "7")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "--attempt 7: grid_0_1 has no such attempt; it has 1 to 1" in wrong.stderr
    unknown = study.cli("logs", "grid_9_9")
    assert unknown.returncode == 2
    assert "no task 'grid_9_9' in this queue" in unknown.stderr
    log = study.home.logs / "grid_0_1" / "1.log"
    log.unlink()
    gone = study.cli("logs", "grid_0_1")
    assert gone.returncode == 1
    assert f"its output is gone: {log} was removed, or never written" in gone.stderr
    study.manager.stop()
    with closing(sqlite3.connect(study.home.database)) as base, base:
        base.execute(f"UPDATE attempts SET host = 'node9', log_file = '{study.root / 'trial.py'}'")
    for options in ((), ("--follow",)):
        elsewhere = study.cli("logs", "grid_0_1", *options)
        assert elsewhere.returncode == 1
        assert elsewhere.stdout == "", "a file of that name here is another"
        path = study.root / "trial.py"
        assert f"its output is on the host node9: {path}; look there" in elsewhere.stderr


def test_a_running_attempt_is_followed_and_then_the_next(study: Study) -> None:
    study.set_up(one(study, "speak_once", max_attempts=3))
    study.manager.start()
    process, output = follow(study)
    says(output, "grid_0_1 is PENDING: waiting for attempt 1")
    study.worker()
    study.started(1)
    says(output, "the first attempt")
    assert process.poll() is None
    study.go()
    assert process.wait(SECONDS) == 0
    said = output.read_text()
    for each in ("attempt 1 on", "its last words", "attempt 1 ended: FAILED",
                 "attempt 2 on", "the second attempt", "COMPLETED"):  # fmt: skip
        assert each in said
    assert said.index("attempt 1 ended") < said.index("the second attempt")
    assert said.count("its last words") == 1
    assert study.worker_ends() == 0


def test_the_attempt_named_is_followed_alone_and_ctrl_c_is_no_failure(study: Study) -> None:
    study.set_up(one(study, "speak_once", max_attempts=3))
    study.manager.start()
    study.worker()
    study.started(1)
    process, output = follow(study, "--attempt", "1")
    says(output, "the first attempt")
    process.send_signal(signal.SIGINT)
    assert process.wait(SECONDS) == 0
    assert "Traceback" not in output.read_text()
    output.unlink()
    process, output = follow(study, "--attempt", "1")
    study.go()
    assert process.wait(SECONDS) == 0
    assert "attempt 2" not in output.read_text()
    study.worker_ends()


def test_a_terminal_is_not_steered_and_a_pipe_gets_the_bytes(study: Study) -> None:
    (study.root / "noise.py").write_text(NOISY)
    sweep = one(study, "noisy", max_attempts=1)
    path = study.root / sweep
    path.write_text(path.read_text().replace("trial:noisy", "noise:noisy"))
    study.set_up(sweep)
    study.manager.start()
    study.work()
    piped = subprocess.run(
        sqlqueue_command("logs", "grid_0_1"), cwd=study.root, env=study.cli.environment,
        capture_output=True, check=True,
    )  # fmt: skip
    assert piped.stdout == (study.home.logs / "grid_0_1" / "1.log").read_bytes()
    assert b"\x1b]0;owned\x07 \xff 10%\r20%" in piped.stdout
    shown = on_a_terminal(study)
    assert "\x1b[32mgreen\x1b[0m \\x1b]0;owned\\x07 \\xff 10%\r20%" in shown
    assert "\x1b]" not in shown


def on_a_terminal(study: Study) -> str:
    leader, follower = pty.openpty()
    environment = study.cli.environment | {"TERM": "xterm-256color"}
    del environment["NO_COLOR"]
    with subprocess.Popen(
        sqlqueue_command("logs", "grid_0_1"), cwd=study.root, env=environment,
        stdin=follower, stdout=follower, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        os.close(follower)
        parts: list[bytes] = []
        try:
            while data := os.read(leader, 65536):
                parts.append(data)
        except OSError:
            pass  # how a terminal says that the other end is closed
        assert process.wait(SECONDS) == 0
    os.close(leader)
    return b"".join(parts).decode()
