"""Real programs in a real child: what they are given, what they leave, how they may end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from child_bench import Bench, bench, ending_of, marked

from sqlqueue.experiments.returned import MOST_LINE_BYTES, Lines, NoResult
from sqlqueue.plan.command import Command
from sqlqueue.plan.headline import headline
from sqlqueue.worker import exits
from sqlqueue.worker.attempt import Attempt, Stop
from sqlqueue.worker.captured import Captured
from sqlqueue.worker.outcome import Ending, Order
from support import wait_until

__all__ = ["bench"]

AWKWARD = [
    "a b", "it's \"quoted\"", "line\nbreak\ttab", "Ünïcødé ☃", "-n", "--width=4", "", " ", "*",
    "$(touch pwned) `touch pwned`; touch pwned | touch pwned > pwned", "{x}", "\\n", "%s",
]  # fmt: skip


def mostly_later(rows: list[Any]) -> list[Any]:
    """The first two at once, the others in the long run."""
    return [*rows[:2], *(pytest.param(*each, marks=pytest.mark.slow) for each in rows[2:])]


def order_of(bench: Bench, *words: str, **given: Any) -> Order:
    """An order for a program; `environment` and `directory` are the command's, `x` the cell's."""
    environment, directory = given.pop("environment", {}), given.pop("directory", "")
    command = Command(words, environment, directory, given.pop("files", ()))
    return replace(bench.order("m:program", **given), experiment="program", command=command)


def run(
    bench: Bench, *words: str, timeout: float | None = None, grace: float = 5.0, **given: Any
) -> Ending:
    return perform(bench, order_of(bench, *words, **given), timeout, grace)


def perform(bench: Bench, order: Order, timeout: float | None = None, grace: float = 5.0) -> Ending:
    bench.last = Attempt(bench.ready(order), order, timeout, grace, bench.inbox)
    with Captured(Path(order.log)):
        ending = ending_of(bench.last)
    if ending.retire or bench.last.child_lost or bench.last.why:
        bench.close()
    return ending


def script(bench: Bench, text: str) -> str:
    """A shell script of the user's."""
    path = bench.root / "program.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return "./program.sh"


def python(bench: Bench, text: str, **given: Any) -> Ending:
    (bench.root / "program.py").write_text(text)
    return run(bench, sys.executable, "program.py", **given)


def pids(bench: Bench) -> list[int]:
    path = bench.root / "pids"
    found = wait_until(lambda: path.exists() and path.read_text().endswith("\n"), 20, "its pids")
    assert found
    return list(map(int, path.read_text().split()))


# --- what it is given -------------------------------------------------------------------

ECHO = """
#include <stdio.h>
int main(int count, char **words) {  /* every argument as a JSON list of its bytes */
    printf("{\\"words\\": [");
    for (int i = 1; i < count; i++) {
        printf(i > 1 ? ", [" : "[");
        for (char *c = words[i]; *c; c++) printf(c > words[i] ? ", %d" : "%d", (unsigned char) *c);
        printf("]");
    }
    printf("]}\\n");
    return 0;
}
"""


def test_a_value_is_one_argument_whatever_is_in_it(bench: Bench, tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "a C compiler"
    (tmp_path / "echo.c").write_text(ECHO)
    assert (
        os.spawnl(
            os.P_WAIT, compiler, compiler, "-o", str(tmp_path / "echo"), str(tmp_path / "echo.c")
        )
        == 0
    )
    names = [f"v{number}" for number in range(len(AWKWARD))]
    words = [*(f"{{{name}}}" for name in names), "--a={v0}/{v1}", "{{}}"]
    ending = run(bench, "./echo", *words, **dict(zip(names, AWKWARD, strict=True)))
    assert ending.outcome == "COMPLETED", ending.error
    found = [bytes(each).decode() for each in ending.metrics["words"]]
    assert found == [*AWKWARD, f"--a={AWKWARD[0]}/{AWKWARD[1]}", "{}"]
    assert not (tmp_path / "pwned").exists()


def test_its_surroundings(bench: Bench) -> None:
    (bench.root / "code").mkdir()
    text = """
import json, os, sys
own = {k: v for k, v in os.environ.items() if k.startswith("SQLQUEUE_")}
print(json.dumps({"own": own, "cwd": os.getcwd(), "mine": os.environ["MINE"], "path": "PATH" in
    os.environ, "parameters": json.load(open(own["SQLQUEUE_PARAMETERS"])), "stdin":
    sys.stdin.read(), "argv": sys.argv[1:], "there": os.path.isdir(own["SQLQUEUE_DIRECTORY"])}))
"""
    (bench.root / "code" / "p.py").write_text(text)
    words = (sys.executable, "p.py", "{run.directory}", "{run.device}", "{run.seed}")
    given = {"x": [1, None], "y": float("nan")}
    found = run(bench, *words, directory="code", environment={"MINE": "<{x}>"}, **given).metrics
    assert bench.last is not None
    order = bench.last.order
    own = found["own"]
    assert own.pop("SQLQUEUE_MARK_OF_A_TEST")
    assert {name: own[f"SQLQUEUE_{name}"] for name in ("SEED", "DEVICE", "TASK_ID", "ATTEMPT")} == {
        "SEED": "42", "DEVICE": "cpu", "TASK_ID": "exp_0_42", "ATTEMPT": "1",
    }  # fmt: skip
    assert own["SQLQUEUE_DIRECTORY"] == order.checkpoint
    assert len(own) == 8
    assert found["cwd"] == str(bench.root / "code")
    assert (found["mine"], found["path"], found["stdin"]) == ("<[1, null]>", True, "")
    assert found["parameters"]["x"] == [1, None]
    assert found["argv"] == [order.checkpoint, "cpu", "42"]
    assert found["there"]


def test_its_directory_is_kept_when_something_is_in_it(bench: Bench) -> None:
    kept = script(bench, 'echo x >> "$SQLQUEUE_DIRECTORY/ckpt"; wc -l < "$SQLQUEUE_DIRECTORY/ckpt"'
                  "; echo '{\"a\": 1}'")  # fmt: skip
    run(bench, kept)
    run(bench, kept)
    assert bench.log().split()[0] == "2"
    shutil.rmtree(bench.home / "checkpoints")
    run(bench, script(bench, "echo '{\"a\": 1}'"))
    assert list((bench.home / "checkpoints").iterdir()) == []


# --- its result -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "metrics"),
    mostly_later([
        ("echo '{\"a\": 1}'", {"a": 1}),
        ("printf '{\"a\": 1}'", {"a": 1}),
        ("echo '{\"a\": 1}'; echo done; echo \"{'b': 2}\"; echo '[3]'", {"a": 1}),
        ("echo '{\"a\": 1}'; echo '  {\"a\": NaN, \"b\": {\"c\": -Infinity}} '",
         {"a": "nan", "b": {"c": "-inf"}}),
        ("echo '{\"a\": 1}' > $SQLQUEUE_RESULT; echo '{\"a\": 2}'", {"a": 1}),
        ("printf '{\\n\"a\":\\n 1}' > $SQLQUEUE_RESULT", {"a": 1}),
        ("echo '{\"a\": 1}'; echo '{\"a\": 2}' >&2", {"a": 1}),
        ("printf '{\"a\": 1}\\r\\n'", {"a": 1}),
    ]),
)  # fmt: skip
def test_a_result(bench: Bench, text: str, metrics: dict[str, Any]) -> None:
    ending = run(bench, script(bench, text))
    assert ending.outcome == "COMPLETED", ending.error
    found = json.loads(json.dumps(ending.metrics), parse_constant=lambda each: each)
    assert repr(found).replace("'NaN'", "'nan'").replace("-Infinity", "-inf") == repr(metrics)


@pytest.mark.parametrize(
    ("text", "said"),
    mostly_later([
        ("echo hello", "no result: the program ended with exit status 0, but wrote no JSON object"),
        ("echo '[1, 2]'", "no result"),
        ("echo '{\"a\": 1}'; printf '{\"a\": 2'", "torn"),
        ("printf '{\"a\": ' > $SQLQUEUE_RESULT; echo '{\"a\": 1}'", "no JSON, or torn"),
        ("echo 5 > $SQLQUEUE_RESULT", "JSON of another kind (int)"),
        (": > $SQLQUEUE_RESULT", "an empty file"),
        ("mkdir $SQLQUEUE_RESULT", "Is a directory"),
        ("mkfifo $SQLQUEUE_RESULT", "no regular file"),
        ("printf '\\377\\376' > $SQLQUEUE_RESULT", "no JSON"),
    ]),
)  # fmt: skip
def test_no_result(bench: Bench, text: str, said: str) -> None:
    ending = run(bench, script(bench, text))
    assert ending.outcome == "FAILED"
    assert said in headline(ending.error)
    assert "hello" not in text or "  hello" in ending.error


def test_lines_are_bounded() -> None:
    lines = Lines()
    lines.feed(b'{"a": 1}\n')
    for _ in range(3 * MOST_LINE_BYTES // (1 << 20)):
        lines.feed(b"x" * (1 << 20))
    assert len(lines._line) <= MOST_LINE_BYTES
    lines.feed(b'\n{"b": ')
    lines.feed(b"2}\nend")
    assert lines.close() == {"b": 2}
    lines.feed(b'{"c": "')
    for _ in range(1 + MOST_LINE_BYTES // (1 << 20)):
        lines.feed(b"x" * (1 << 20))
    lines.feed(b'"}\n')
    with pytest.raises(NoResult, match="more than 8 MiB"):
        lines.close()


# --- how it fails -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "outcome", "said"),
    mostly_later([
        ("echo '{\"a\": 1}'; echo 'bad width' >&2; exit 3", "FAILED",
         "the program ended with exit status 3: bad width"),
        ("exit 1", "FAILED", "the program ended with exit status 1"),
        ("kill -SEGV $$", "FAILED", "the program ended with signal SIGSEGV"),
        ("kill -TERM $$", "FAILED", "the program ended with signal SIGTERM"),
        ("sh -c 'kill -KILL $$'; exit 137", "FAILED", "exit status 137 (SIGKILL?)"),
        ("echo 'CUDA out of memory. Tried to allocate 2 GiB' >&2; exit 2", "OOM", "exit status 2"),
        ("echo \"terminate called after throwing an instance of 'std::bad_alloc'\"; kill -ABRT $$",
         "OOM", "signal SIGABRT"),
    ]),
)  # fmt: skip
def test_a_failure(bench: Bench, text: str, outcome: str, said: str) -> None:
    ending = run(bench, script(bench, text))
    assert (ending.outcome, ending.metrics) == (outcome, {})
    assert said in headline(ending.error)
    assert run(bench, script(bench, "echo '{\"a\": 1}'")).outcome == "COMPLETED"


@pytest.mark.parametrize(
    ("raised", "outcome", "said"),
    mostly_later([
        ("ValueError('bad width 4')", "FAILED", "ValueError: bad width 4"),
        ("MemoryError()", "OOM", "MemoryError"),
        ("RuntimeError('CUDA out of memory. Tried')", "OOM", "RuntimeError: CUDA out of memory."),
        ("type('OutOfMemoryError', (RuntimeError,), {})('x')", "OOM", "OutOfMemoryError: x"),
    ]),
)  # fmt: skip
def test_a_python_program_s_exception_is_the_headline(
    bench: Bench, raised: str, outcome: str, said: str
) -> None:
    text = f"print('CUDA out of memory, trying less')\nprint('begun')\nraise {raised}\n"
    ending = python(bench, text)
    assert ending.outcome == outcome
    assert said in headline(ending.error)
    assert "exit status 1" in ending.error
    assert 'File "' in ending.error


def test_killed_by_the_kernel_for_memory_is_told_apart(tmp_path: Path) -> None:
    for status in (-signal.SIGKILL, 128 + signal.SIGKILL):
        failed = exits.failure(status, tmp_path / "no.log", b"", oom_kill=True)
        assert (failed.outcome, "out of memory" in failed.said) == ("OOM", True)
        assert exits.failure(status, tmp_path / "no.log", b"", oom_kill=False).outcome == "FAILED"
    assert exits.failure(3, tmp_path / "no.log", b"", oom_kill=True).outcome == "FAILED"


@pytest.mark.parametrize(
    ("words", "given", "said"),
    mostly_later([
        (("not-a-program",), {}, "no program 'not-a-program'; PATH is"),
        (("./not-there",), {}, "there is no such file"),
        (("./plain",), {}, "it is not executable (chmod +x)"),
        (("./binary",), {}, "does it begin with #!?"),
        (("true",), {"directory": "no/where"}, "no folder"),
        (("true", "gone.py"), {"files": ("gone.py",)}, "no file"),
        (("true", "{y}"), {}, "names {y} now"),
        (("true", "{x}"), {"x": "a\0b"}, "null byte"),
        (("true", "{x}"), {"x": "a" * 200_000}, "Argument list too long"),
    ]),
)  # fmt: skip
def test_what_cannot_be_run_is_told(
    bench: Bench, words: tuple[str, ...], given: dict[str, Any], said: str
) -> None:
    (bench.root / "plain").write_text("x")
    (bench.root / "binary").write_bytes(b"\1\2\3")
    (bench.root / "binary").chmod(0o755)
    ending = run(bench, *words, **given)
    assert ending.outcome == "FAILED"
    assert said in ending.error
    away = perform(bench, replace(order_of(bench, *words, **given), elsewhere=True))
    assert away.outcome == "UNAVAILABLE"


# --- its output -------------------------------------------------------------------------


def test_output_is_in_the_log_as_it_comes(bench: Bench) -> None:
    words = script(bench, "echo out; echo err >&2; echo half; while [ ! -e go ]; do sleep .05; "
                   "done; echo '{\"a\": 1}'")  # fmt: skip
    order = order_of(bench, words)
    endings: list[Ending] = []
    thread = threading.Thread(target=lambda: endings.append(perform(bench, order)))
    thread.start()
    log = Path(order.log)
    said = {"out", "err", "half"}  # through two pipes, in whichever order
    wait_until(lambda: log.exists() and said <= set(log.read_text().splitlines()), 20, "its output")
    assert set(log.read_text().splitlines()) == said
    (bench.root / "go").touch()
    thread.join(20)
    assert endings[0].outcome == "COMPLETED"


ENDLESS = """
import os, resource, sys
chunk = {chunk}
for _ in range({chunks}):
    os.write(1, chunk)
print()
print('{{"peak": %d}}' % 1)
"""


@pytest.mark.parametrize(
    ("chunk", "chunks"),
    [
        ('b"x" * (1 << 20)', 40),
        ('b"{x}\\n" * (1 << 16)', 40),
        pytest.param('b"x" * (1 << 20)', 3000, marks=pytest.mark.slow),
    ],
)
def test_endless_output_takes_little_memory_and_disk(bench: Bench, chunk: str, chunks: int) -> None:
    ending = python(bench, ENDLESS.format(chunk=chunk, chunks=chunks))
    assert ending.metrics == {"peak": 1}, ending.error
    assert bench.last is not None
    assert Path(bench.last.order.log).stat().st_size < 60 << 20
    child = bench.child
    assert child is not None
    (pid,) = [each for each in marked(bench.mark) if "child" in _command_line(each)]
    peak = Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]
    assert int(peak) < 120_000, "KiB"


def _command_line(pid: int) -> str:
    found = Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
    return found if "guard.py" not in found else ""


# --- progress ---------------------------------------------------------------------------


def test_progress_is_passed_on(bench: Bench) -> None:
    text = script(
        bench,
        """
        echo '{"step": 1, "total": 10}' >> $SQLQUEUE_PROGRESS
        echo 'no json' >> $SQLQUEUE_PROGRESS
        echo '{"step": 3, "total": 10, "loss": 0.5, "name": "x"}' >> $SQLQUEUE_PROGRESS
        printf '{"step": 4' >> $SQLQUEUE_PROGRESS
        echo '{"a": 1}'""",
    )
    assert run(bench, text).outcome == "COMPLETED"
    assert bench.last is not None and bench.last.progress is not None
    said = bench.last.progress
    assert (said.step, said.total, said.metrics) == (3.0, 10.0, {"loss": 0.5, "name": "x"})


# --- its end ----------------------------------------------------------------------------

TRAP = """
echo $$ > pids
trap '{trap}' TERM
while [ ! -e go ]; do sleep .05; done
echo '{{"late": 1}}'
"""


def stopped(bench: Bench, text: str, grace: float = 5.0) -> Ending:
    """Runs a script that writes its pid, and tells the attempt to stop."""
    order = order_of(bench, script(bench, text))
    threading.Thread(target=lambda: (pids(bench), bench.inbox.put(Stop()))).start()
    return perform(bench, order, grace=grace)


@pytest.mark.parametrize(
    ("trap", "outcome", "metrics"),
    [
        ("echo saved > ckpt; exit 0", "STOPPED", {}),
        ("exit 1", "STOPPED", {}),
        ('echo "{\\"a\\": 1}" > $SQLQUEUE_RESULT; exit 0', "COMPLETED", {"a": 1}),
        ('echo "{\\"a\\": 1}"; exit 0', "STOPPED", {}),
        ('echo "{\\"a\\": 1}" > $SQLQUEUE_RESULT; exit 5', "STOPPED", {}),
    ],
)
def test_told_to_stop_it_hears_it(
    bench: Bench, trap: str, outcome: str, metrics: dict[str, Any]
) -> None:
    ending = stopped(bench, TRAP.format(trap=trap))
    assert (ending.outcome, ending.metrics) == (outcome, metrics)
    assert marked(bench.mark) == []


def test_deaf_it_is_killed_with_all_that_it_started(bench: Bench) -> None:
    text = "trap '' TERM; (setsid sleep 100 &); sleep 100 & echo $$ $! > pids; wait; sleep 100"
    assert stopped(bench, text, grace=0.3).outcome == "STOPPED"
    assert marked(bench.mark) == []


def test_what_a_script_started_may_save_something_too(bench: Bench) -> None:
    (bench.root / "train.py").write_text(
        "import signal, sys, threading\n"
        "signal.signal(signal.SIGTERM, lambda *_: (open('ckpt', 'w').write('x'), sys.exit(0)))\n"
        "open('pids', 'w').write('1\\n')\n"
        "threading.Event().wait()\n"
    )
    assert stopped(bench, f"{sys.executable} train.py; echo after").outcome == "STOPPED"
    assert (bench.root / "ckpt").read_text() == "x"


def test_the_time_limit_ends_it(bench: Bench) -> None:
    ending = run(bench, script(bench, "sleep 100 & sleep 100"), timeout=0.5, grace=0.3)
    assert ending.outcome == "TIMEOUT"
    assert marked(bench.mark) == []


@pytest.mark.parametrize("status", [0, 3])
def test_what_it_leaves_running_is_ended(bench: Bench, status: int) -> None:
    left = "(setsid sleep 100 &); sleep 100 & echo '{\"a\": 1}'; exit"
    ending = run(bench, script(bench, f"{left} {status}"))
    assert ending.outcome == ("FAILED" if status else "COMPLETED"), ending.error
    assert ending.retire
    assert marked(bench.mark) == []


@pytest.mark.parametrize("who", ["child", "guard"])
def test_it_ends_when_the_child_or_its_guard_is_killed(bench: Bench, who: str) -> None:
    order = order_of(bench, script(bench, "echo $$ > pids; exec sleep 100"))
    child = bench.ready(order)

    def kill() -> None:
        pids(bench)
        everyone = {pid: _command_line(pid) for pid in marked(bench.mark)}
        found = [pid for pid, each in everyone.items()
                 if (not each if who == "guard" else "worker.child" in each)]  # fmt: skip
        os.kill(found[0], signal.SIGKILL)

    threading.Thread(target=kill).start()
    ending = ending_of(Attempt(child, order, None, 5.0, bench.inbox))
    assert ending.outcome == "FAILED"
    bench.close()
    wait_until(lambda: marked(bench.mark) == [], 10, "the end of the program")


def test_a_mapping_is_handed_over_as_json(bench: Bench) -> None:
    """The plan takes it apart into its entries."""
    order = order_of(bench, "echo", "{opt}", **{"opt.lr": 0.1, "opt.name": "sgd"})
    ending = perform(bench, order)
    assert ending.metrics == {"lr": 0.1, "name": "sgd"}, ending.error


def test_what_an_attempt_of_the_same_number_left_is_no_result(bench: Bench) -> None:
    """As after a backup was restored: numbers come again."""
    order = order_of(bench, "true")
    folder = order.folders()[0]
    folder.mkdir(parents=True)
    (folder / "result.json").write_text('{"accuracy": 1}')
    ending = perform(bench, order)
    assert ending.outcome == "FAILED", ending.metrics


def test_progress_of_any_names_ends_nothing(bench: Bench) -> None:
    script = "import os; f = open(os.environ['SQLQUEUE_PROGRESS'], 'a');" + (
        """f.write('{"step": 1, "self": 3}\\n'); f.close(); print('{"a": 1}')"""
    )
    ending = run(bench, sys.executable, "-c", script.replace("{", "{{").replace("}", "}}"))
    assert ending.metrics == {"a": 1}, ending.error
