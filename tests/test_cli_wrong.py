"""What is typed wrongly, option by option: the exit status is 2, the message names what is
wrong and what to do now, and nothing is written.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support import Cli, environment, sqlqueue_command

SWEEP = """
one:
  output_dir: results
  combinations:
    - seed: [1, 2]
"""

WRONG = [
    # command line, exit, what the message names, what it advises
    (["stauts"], "'stauts'", "Did you mean 'status'?"),
    (["--hoem", "x", "status"], "--hoem", "--home"),
    (["init"], "FILES...", "init --help"),
    (["init", "none.yaml"], "none.yaml: no such file", "relative to"),
    (["init", "conf*.yaml"], "conf*.yaml", "no file matches"),
    (["init", "."], "is a folder", "*.yaml"),
    (["init", "good.yaml", "none.yaml", "--dry-run"], "none.yaml", "nothing was changed"),
    (["init", "--dry", "good.yaml"], "--dry", "--dry-run"),
    (["init", "--dry-run=yes", "good.yaml"], "--dry-run", "init --help"),
    (["init", "--set-aside=1", "good.yaml"], "--set-aside", "init --help"),
    (["init", "--home"], "--home", "--help"),
    (["init", "--home", "good.yaml", "good.yaml"], "good.yaml: is a file", "folder"),
    (["init", "--home", "none/none", "good.yaml"], "none: no such folder", "home"),
    (["init", "--home", "full", "good.yaml"], "full: is not a sqlqueue home", "--home"),
    (["init", "--dry-run", "--home", "good.yaml", "good.yaml"], "good.yaml: is a file", "folder"),
    (["init", "--dry-run", "--home", "none/a/b", "good.yaml"], "none/a: no such folder", "--home"),
    (["init", "--home", "none/a/b", "good.yaml"], "none/a: no such folder", "--home"),
    (["init", "--dry-run", "--home", "full", "good.yaml"], "not a sqlqueue home", "--home"),
    (["init", "bad.yaml"], "bad.yaml:2: phase 'one'", "combinations"),
    (["init", "none.yaml", "bad.yaml", "yaml.yaml"], "bad.yaml:2: phase 'one'", "4 problems"),
    (["init", "yaml.yaml"], "yaml.yaml:1", "nothing was changed"),
    (["run"], "FILES...", "run --help"),
    (["run", "none.yaml"], "none.yaml: no such file", "relative to"),
    (["run", "bad.yaml"], "bad.yaml:2: phase 'one'", "combinations"),
    (["run", "--set-aside=1", "good.yaml"], "--set-aside", "run --help"),
    (["serve"], "no queue here", "sqlqueue init"),
    (["serve", "--port", "x"], "--port': found 'x'", "from 0 to 65535"),
    (["serve", "--port", "65536"], "--port': found '65536'", "from 0 to 65535"),
    (["serve", "--port=-1"], "--port': found '-1'", "from 0 to 65535"),
    (["serve", "--port"], "--port", "requires an argument"),
    (["serve", "--host"], "--host", "requires an argument"),
    (["serve", "--until-done=3"], "--until-done", "serve --help"),
    (["serve", "now"], "now", "serve --help"),
    (["work", "--gpu", "x"], "--gpu: found 'x'", "`all`"),
    (["work", "--gpu=-1"], "--gpu: found '-1'", "`all`"),
    (["work", "--gpu", "0,"], "--gpu: found ''", "`all`"),
    (["work", "--gpu"], "--gpu", "requires an argument"),
    (["work", "--slots", "0"], "--slots': found '0'", "from 1 to 1000"),
    (["work", "--slots", "1.5"], "--slots': found '1.5'", "from 1 to 1000"),
    (["work", "--cpu=1"], "--cpu", "work --help"),
    (["work", "--wait=1"], "--wait", "work --help"),
    (["work", "--require-gpu=1"], "--require-gpu", "work --help"),
    (["work", "--manager", "node7"], "--manager: found 'node7'", "HOST:PORT"),
    (["work", "--manager", "node7:0"], "--manager: found 'node7:0'", "HOST:PORT"),
    (["work", "--manager", "node7:70000"], "'node7:70000'", "HOST:PORT"),
    (["work", "--manager", ":7433"], "--manager: found ':7433'", "HOST:PORT"),
    (["work", "--manager", "node7:7433"], "SQLQUEUE_TOKEN", "sqlqueue token"),
    (["work"], "no queue here", "sqlqueue init"),
    (["status"], "no queue here", "sqlqueue init"),
    (["status", "--json"], "no queue here", "sqlqueue init"),
    (["status", "--home", "good.yaml"], "no queue here", "--home"),
    (["status", "--home", "full"], "full: not a sqlqueue home", "queue.json"),
    (["status", "--interval", "0"], "--interval': found '0'", "above 0"),
    (["status", "--interval", "nan"], "--interval': found 'nan'", "above 0"),
    (["status", "--interval", "soon"], "--interval': found 'soon'", "above 0"),
    (["status", "--watch=1"], "--watch", "status --help"),
    (["status", "--json=1"], "--json", "status --help"),
    (["status", "x"], "x", "status --help"),
    (["verify"], "no queue here", "sqlqueue init"),
    (["verify", "--repair"], "no queue here", "sqlqueue init"),
    (["verify", "--repair=1"], "--repair", "verify --help"),
    (["token"], "no queue here", "sqlqueue init"),
    (["token", "x"], "x", "token --help"),
    (["--verbose=1", "status"], "--verbose", "--help"),
    (["--version=1"], "--version", "--help"),
]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "good.yaml").write_text(SWEEP)
    (tmp_path / "bad.yaml").write_text(SWEEP.replace("combinations", "combination"))
    (tmp_path / "yaml.yaml").write_text("a: [")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    return tmp_path


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every name below a folder, with what stands in the files."""
    return {
        str(each.relative_to(folder)): each.read_bytes() if each.is_file() else None
        for each in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize(("typed", "named", "cure"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_command_line_says_where_and_what_now(
    typed: list[str], named: str, cure: str, cli: Cli, files: Path
) -> None:
    before = tree(files)
    done = cli(*typed)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert named in done.stderr
    assert cure in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert tree(files) == before


def test_the_help_of_every_command_states_its_defaults(cli: Cli) -> None:
    for command in ("init", "serve", "work", "run", "status", "verify", "doctor", "token"):
        text = " ".join(cli.ok(command, "--help").split())
        options = text.count(" --") - text.count("--help Show")
        assert text.count("[default: ") >= 2, command
        assert options > 0


def test_no_arguments_show_the_help(cli: Cli) -> None:
    assert cli.ok().startswith("Usage: sqlqueue")


def test_the_console_script_is_the_module(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("sqlqueue")
    state = environment(tmp_path)
    texts = [
        subprocess.run([*command, "--version"], capture_output=True, env=state, check=True).stdout
        for command in ([str(script)], sqlqueue_command())
    ]
    assert texts[0] == texts[1]
