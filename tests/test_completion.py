"""Completion as a real bash asks for it: commands, options, and the names of the queue at hand."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from needs import need
from test_start_up import DATABASE, HEAVY, imported

from support import Cli

SCRIPTS = Path(sys.executable).parent
SECONDS = 30.0
SWEEP = """\
defaults: {output_dir: results, experiment: "small:measure"}
width: {combinations: [{seed: [1, 2]}]}
wide-2: {combinations: [{seed: [3]}]}
"""
EXPERIMENT = "def measure(seed: int) -> dict:\n    return {'value': seed}\n"


@pytest.fixture
def bash(cli: Cli, tmp_path: Path) -> Iterator[Cli]:
    """A folder with a queue of three tasks, where there is a bash and `sqlqueue` is found."""
    need(shutil.which("bash") is not None, "bash")
    need((SCRIPTS / "sqlqueue").exists(), "the console script beside the interpreter")
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    (tmp_path / "small.py").write_text(EXPERIMENT)
    cli.set_up("init", "sweep.yaml")
    cli.environment["PATH"] = f"{SCRIPTS}:{cli.environment['PATH']}"
    cli.environment["HOME"] = str(tmp_path)
    yield cli


def run(cli: Cli, script: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "--norc", "-c", script], cwd=cli.root, env=cli.environment | extra,
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip


COMPLETE = """
eval "$(_SQLQUEUE_COMPLETE=source_bash sqlqueue)"
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_sqlqueue_completion sqlqueue
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed(cli: Cli, *words: str, **extra: str) -> list[str]:
    """What bash is answered for a line that was split into these words, the last one begun."""
    quoted = " ".join(f"'{word}'" for word in ("sqlqueue", *words))
    done = run(cli, COMPLETE.format(words=quoted), **extra)
    assert done.stderr == ""
    return done.stdout.split()


LINES = {
    ("st",): ["status"],
    ("status", "--wa"): ["--watch"],
    ("logs", "widt"): ["width_0_1", "width_1_2"],
    ("logs", "width_0"): ["width_0_1"],
    ("retry", "width_1"): ["width_1_2"],
    ("retry", "ph"): ["phase=wide-2", "phase=width"],
    ("pause", ""): ["phase=wide-2", "phase=width"],
    ("retry", "phase", "="): ["wide-2", "width"],
    ("retry", "phase", "=", "wide"): ["wide-2"],
    ("failures", "state", "=", "c"): ["completed", "cancelled"],
    ("drain", "wo"): [],
    ("logs", "100%"): [],
    ("logs", "_"): [],
}


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_what_bash_is_answered(bash: Cli, words: tuple[str, ...]) -> None:
    assert completed(bash, *words) == LINES[words]


def test_other_shells_are_answered_with_whole_words(bash: Cli) -> None:
    """Zsh and fish do not split at `=`."""
    fish = {"_SQLQUEUE_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    line = {"_TYPER_COMPLETE_ARGS": "sqlqueue resume phase=widt"}
    done = run(bash, "sqlqueue", **fish, **line)
    assert done.stdout.split() == ["phase=width"]
    zsh = {"_SQLQUEUE_COMPLETE": "complete_zsh"}
    assert '"phase=width"' in run(bash, "sqlqueue", **zsh, **line).stdout


def test_the_home_that_is_named_is_asked(bash: Cli, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    home = str(tmp_path / ".sqlqueue")
    other = Cli(elsewhere, bash.environment)
    assert completed(other, "logs", "--home", home, "width_0") == ["width_0_1"]
    assert completed(other, "logs", "width_0") == []
    assert completed(other, "logs", "width_0", SQLQUEUE_HOME=home) == ["width_0_1"]


def test_of_very_many_tasks_the_phases_are_offered(bash: Cli, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP.replace("seed: [3]", f"seed: {list(range(300))}"))
    bash.set_up("init", "sweep.yaml")
    assert completed(bash, "logs", "wi") == ["wide-2_", "width_"]
    assert len(completed(bash, "logs", "wide-2_0_")) == 1


def test_whatever_is_wrong_nothing_is_said(bash: Cli, tmp_path: Path) -> None:
    home = tmp_path / ".sqlqueue"
    whole = (home / "queue.db").read_bytes()
    (home / "queue.db").write_bytes(b"no database" * 1000)
    assert completed(bash, "logs", "wid") == []
    assert completed(bash, "retry", "phase", "=", "w") == []
    (home / "queue.db").write_bytes(whole)


def test_it_imports_nothing_that_takes_long(bash: Cli) -> None:
    asked = {"_SQLQUEUE_COMPLETE": "complete_bash", "COMP_WORDS": "sqlqueue logs widt",
             "COMP_CWORD": "2", "PYTHONPROFILEIMPORTTIME": "1"}  # fmt: skip
    done = run(bash, "sqlqueue", **asked)
    assert done.stdout.split() == ["width_0_1", "width_1_2"]
    heavy = (HEAVY | DATABASE | {"numpy", "rich", "asyncio", "msgspec"}) - {"sqlite3"}
    assert imported(done.stderr) & heavy == set()


def test_a_bash_at_a_terminal_completes_when_tab_is_pressed(bash: Cli) -> None:
    """Installed as `--install-completion` does it."""
    installed = run(bash, "sqlqueue --install-completion; true")
    assert "bash completion installed in" in installed.stdout, installed
    shown = run(bash, "sqlqueue --show-completion; true")
    assert "complete -o default -F _sqlqueue_completion sqlqueue" in shown.stdout
    leader, follower = pty.openpty()
    environment = bash.environment | {"TERM": "dumb"}
    process = subprocess.Popen(
        ["bash", "--noprofile", "-i"], cwd=bash.root, env=environment,
        stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    try:
        os.write(leader, b"echo up$((1 + 1))\n")
        heard(leader, "up2")
        os.write(leader, b"sqlqueue resume phase=widt\t --dry-run\n")
        assert "phase width was not paused" in heard(leader, "Dry run: nothing was changed")
    finally:
        process.kill()
        process.wait()
        os.close(leader)


def heard(leader: int, text: str) -> str:
    """All that the terminal shows until it shows that."""
    shown, deadline = "", time.monotonic() + SECONDS
    while text not in shown:
        ready, _, _ = select.select([leader], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, shown
        shown += os.read(leader, 65536).decode(errors="replace")
    return shown
