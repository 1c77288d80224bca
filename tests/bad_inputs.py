"""The table of bad inputs: sweep files, command lines, messages.  One wrong thing a row.

Every row says what is given and what the answer must name: the place, and the cure.  Rows
that follow from a declaration are made from it (`misused_options`, `malformed`), so that a
new option or field comes with its rows, or the test that counts them says what is missing.
What is not here: giving it to the real thing (`test_bad_inputs.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

import msgspec
import typer.main

from sqlqueue import protocol
from sqlqueue.cli import app

# --- sweep files ----------------------------------------------------------------------


class Sweep(NamedTuple):
    """A file `bad.yaml` with one thing wrong, in that line, about that key."""

    key: str
    text: str
    line: int
    named: str
    cure: str


TOP = "defaults: {output_dir: results, experiment: 'trial:measure'}\n"


def swept(line: str, more: str = "") -> str:
    """The combinations stand in line 4, `more` begins in line 5."""
    return f"{TOP}x:\n  combinations:\n    {line}\n{more}"


PHASE = "phase 'x'"
SWEEPS = [
    Sweep("", "", 1, "nothing", "expected phases"),
    Sweep("", "- a\n", 1, "top of the file", "expected phases"),
    Sweep("", swept("seed: 9223372036854775808"), 4, "key 'seed'", "64 bits"),
    Sweep("", f"{TOP}x:\n\tcombinations: 1\n", 3, "", "use spaces instead of the tab"),
    Sweep("", swept("seed: [1, 2"), 5, "", "begins in line 4"),
    Sweep("", swept("seed: 1") + "---\n{}\n", 5, "second document", ""),
    Sweep("", swept("seed: 1", "x: {}\n"), 5, "'x': found twice", "in one mapping"),
    Sweep("", "defaults: {}\n", 1, "no phase", ""),
    Sweep("", swept("seed: 1", "a b: {combinations: {seed: 1}}\n"), 5, "phase 'a b'", "letters"),
    Sweep("", swept("seed: 1", "y: [1]\n"), 5, "phase 'y'", "expected a phase"),
    Sweep("", swept("seed: 1", "  prioriti: 1\n"), 5, "'prioriti'", "did you mean 'priority'"),
    Sweep("", swept("sede: 1"), 4, f"{PHASE}, key 'sede'", "did you mean 'seed'"),
    Sweep("", swept("seed: one"), 4, f"{PHASE}, key 'seed'", "expected an integer"),
    Sweep("", swept("seed: 4.5"), 4, f"{PHASE}, key 'seed'", "expected an integer"),
    Sweep("", swept("seed: true"), 4, f"{PHASE}, key 'seed'", "expected an integer"),
    Sweep("", swept("seed: 012"), 4, f"{PHASE}, key 'seed'", "write 12"),
    Sweep("", swept("signature: a"), 4, f"{PHASE}, key 'signature'", "taken by sqlqueue"),
    Sweep("defaults", swept("seed: 1").replace("output_dir: results", "output_dir: r, sed: 1"), 1,
          "defaults, key 'sed'", "did you mean 'seed'"),
    Sweep("defaults", f"defaults: 5\n{swept('seed: 1').removeprefix(TOP)}", 1,
          "key 'defaults'", "expected a mapping"),
    Sweep("defaults", swept("seed: 1", "  defaults: {seed: [1, 2]}\n"), 5, f"{PHASE}, key 'seed'",
          "`combinations`"),
    Sweep("seeds", swept("width_factor: 1", "seeds: [a]\n"), 5, "seeds", "expected an integer"),
    Sweep("seeds", swept("width_factor: 1", "seeds: []\n"), 5, "seeds", "empty list"),
    Sweep("combinations", f"{TOP}x: {{}}\n", 2, PHASE, "`combinations`"),
    Sweep("combinations", f"{TOP}x: {{combinations: all}}\n", 2, "key 'combinations'",
          "one-key mappings"),
    Sweep("combinations", swept("- {seed: 1, width_factor: 2}"), 4, "found 2 keys", "key"),
    Sweep("combinations", swept("- seed: []"), 4, "key 'seed'", "empty list"),
    Sweep("exclude", swept("seed: [1]", "  exclude: [{sed: 1}]\n"), 5, "'sed'",
          "did you mean 'seed'"),
    Sweep("exclude", swept("seed: [1]", "  exclude: all\n"), 5, "key 'exclude'", "expected"),
    Sweep("include", swept("seed: [1]", "  include: [{seed: x}]\n"), 5, "key 'seed'",
          "expected an integer"),
    Sweep("include", swept("seed: [1]", "  include: 5\n"), 5, "key 'include'", "expected"),
    Sweep("zip", swept("{seed: [1, 2], width_factor: [1]}", "  zip: [seed, width_factor]\n"), 5,
          "'seed' has 2", "'width_factor' has 1"),
    Sweep("zip", swept("seed: [1]", "  zip: 5\n"), 5, "key 'zip'", "expected"),
    Sweep("output_dir", swept("seed: 1", "  output_dir: 'r_{sed}'\n"), 5, "key 'output_dir'",
          "did you mean 'seed'"),
    Sweep("output_dir", swept("seed: 1", "  output_dir: ''\n"), 5, "key 'output_dir'", "empty"),
    Sweep("output_dir", swept("dataset: [../a]", "  output_dir: '{dataset}'\n"), 4,
          "key 'dataset'", "folder"),
    Sweep("experiment", swept("seed: 1", "  experiment: 'trial:mesure'\n"), 5, "'mesure'",
          "did you mean 'measure'"),
    Sweep("experiment", swept("seed: 1", "  experiment: 'trail:measure'\n"), 5, "trail",
          "did you mean"),
    Sweep("experiment", swept("seed: 1", "  experiment: [a]\n"), 5, "key 'experiment'", "expected"),
    Sweep("experiment", swept("seed: 1", "  experiment: {comand: ls}\n"), 5, "key 'comand'",
          "did you mean 'command'"),
    Sweep("experiment", swept("seed: 1", "  experiment: {command: 'ls {sead}'}\n"), 2,
          "'sead'", "give it in"),
    Sweep("experiment", swept("seed: 1", "  experiment: {command: []}\n"), 5, "key 'command'",
          "a program with its arguments"),
    Sweep("experiment", swept("seed: 1", "  experiment: {command: \"ls 'a\"}\n"), 5,
          "key 'command'", ""),
    Sweep("project_name", swept("seed: 1", "  project_name: [a, b]\n"), 5, "key 'project_name'",
          "expected one name"),
    Sweep("priority", swept("seed: 1", "  priority: high\n"), 5, "key 'priority'",
          "expected an integer"),
    Sweep("max_attempts", swept("seed: 1", "  max_attempts: 0\n"), 5, "key 'max_attempts'",
          "from 1 to 1000"),
    Sweep("timeout", swept("seed: 1", "  timeout: soon\n"), 5, "key 'timeout'", "like 3:50:00"),
]  # fmt: skip

# --- command lines --------------------------------------------------------------------


class Line(NamedTuple):
    """What is typed; what the complaint names, and advises."""

    typed: list[str]
    named: str
    cure: str


VALUES: dict[str, list[tuple[str, str]]] = {
    "--home": [("trial.py", "--home"), ("full", "--home")],
    "--backup": [
        ("none.db", "none.db: cannot be read"),
        ("full", "name a backup"),
        ("good.yaml", "is not an SQLite database"),
    ],
    "--host": [("no.such.host.invalid", "--host"), ("300.1.1.1", "--host")],
    "--port": [("x", "from 0 to 65535"), ("-1", "from 0 to 65535"), ("65536", "from 0 to 65535")],
    "--gpu": [("x", "`all`"), ("-1", "`all`"), ("", "`all`")],
    "--slots": [("0", "from 1 to 1000"), ("1001", "from 1 to 1000"), ("two", "from 1 to 1000")],
    "--manager": [("node7", "HOST:PORT"), ("node7:x", "HOST:PORT"), ("", "HOST:PORT")],
    "--rename": [("lr", "OLD=NEW"), ("=lr", "OLD=NEW"), ("lr=", "OLD=NEW")],
    "--tolerance": [("0", "above 0"), ("2", "at most 1"), ("nan", "above 0"), ("x", "above 0")],
    "--move-to": [("full", "not empty"), (".sqlqueue/x", "inside the queue's home")],
    "--ignore": [("nocolumn", "column")],
    "--among": [("lr>x", "compares numbers"), ("phase=nosuch", "phase")],
    "--report": [("full", "name another file")],
    "--breaker": [("-1", "from 0 to 1000000"), ("1000001", "from 0"), ("two", "from 0 to")],
    "--time-limit": [
        ("0", "expected"),
        ("-5", "expected"),
        ("nan", "expected"),
        ("1:2", "expected"),
        ("soon", "expected"),
        ("", "expected"),
    ],
    "--attempt": [("0", "from 1 to"), ("x", "from 1 to"), ("", "from 1 to")],
    "--tail": [("-1", "from 0 to"), ("x", "from 0 to"), ("", "from 0 to")],
    "--interval": [("0", "above 0"), ("-2", "above 0"), ("nan", "above 0"), ("x", "above 0")],
}
"""Values that no command takes for the option, and the cure; every option with a value has some."""

IDLE = "idle/.sqlqueue"
"""A queue without a manager."""

NEEDS = {"init": ["good.yaml"], "run": ["good.yaml"], "serve": ["--home", IDLE],
         "backup": ["copy.db"], "import": ["good.yaml", "--home", IDLE],
         "recover": ["idle/none.yaml", "--home", IDLE],
         "retry": ["--all"], "rerun": ["--all"], "cancel": ["--all"], "priority": ["1", "--all"],
         "pause": ["--all"], "resume": ["--all"], "drain": ["--all"], "show": ["grid_0_1"],
         "logs": ["grid_0_1"],
         "unlink": ["results"]}  # fmt: skip
"""What a command must have besides what is wrong."""

LINES = [
    Line(["stauts"], "'stauts'", "Did you mean 'status'?"),
    Line(["--hoem", "x", "status"], "--hoem", "--home"),
    Line(["init"], "FILES...", "init --help"),
    Line(["run"], "FILES...", "run --help"),
    Line(["backup"], "FILE", "backup --help"),
    Line(["backup", "good.yaml"], "good.yaml: is there already", "--force"),
    Line(["backup", "full"], "full: is a folder", "name a file"),
    Line(["backup", "none/copy.db"], "there is no folder", "name a file"),
    Line(["recover", "none.yaml"], "none.yaml: no such file", "relative to"),
    Line(["recover", "--home", "never/.sqlqueue"], "queue.db: missing", "name the sweep files"),
    Line(["init", "none.yaml"], "none.yaml: no such file", "relative to"),
    Line(["run", "none.yaml"], "none.yaml: no such file", "relative to"),
    Line(["init", "x*.yaml"], "x*.yaml", "no file matches"),
    Line(["init", "full"], "full: is a folder", "*.yaml"),
    Line(["init", "latin.yaml"], "latin.yaml:1", "UTF-8"),
    Line(["work", "--manager", "node7:7433"], "SQLQUEUE_TOKEN", "sqlqueue token"),
]


def commands() -> Iterator[tuple[str, Any]]:
    """Every command, as typer made it; the group has an empty name."""
    group: Any = typer.main.get_command(app)
    yield "", group
    yield from group.commands.items()


def options(command: Any) -> list[Any]:
    return [each for each in command.params if each.param_type_name == "option"]


def misused_options() -> Iterator[Line]:
    """For every option of every command: a switch given a value, a value left out, or bad."""
    for name, command in commands():
        needs = NEEDS.get(name, [])
        before, after = ([name, *needs], []) if name else ([], ["status"])
        yield Line([*before, "--nonsense"], "--nonsense", "--help")
        for option in options(command):
            flag = option.opts[0]
            if option.is_flag:
                yield Line([*before, f"{flag}=1", *after], flag, "--help")
                continue
            yield Line([*before, flag], flag, "--help")
            for value, cure in VALUES[flag]:
                yield Line([*before, f"{flag}={value}", *after], value, cure)


# --- messages -------------------------------------------------------------------------

REQUESTS: dict[str, type[Any]] = {
    str(each.__struct_config__.tag): each for each in get_args(protocol.Request)
}
SIGNATURE = "00112233445566778899aabbccddeeff"
PARAMETER = {"name": "seed", "original": True, "first_default": "1", "last_default": "1"}
CELL = {"signature": SIGNATURE, "phase": "x", "experiment": "trial:measure", "parameters": {},
        "output_dir": "results"}  # fmt: skip
GOOD: dict[str, dict[str, Any]] = {
    "hello": {"token": "secret"},
    "announce": {"worker_id": "w", "holds": [{"task_id": "t"}]},
    "request_task": {"worker_id": "w"},
    "submit_result": {"task_id": "t", "worker_id": "w", "result_data": {"a": 1}},
    "task_failed": {"task_id": "t", "worker_id": "w", "error": "e"},
    "release": {"task_id": "t", "worker_id": "w"},
    "heartbeat": {"worker_id": "w", "tasks": [{"task_id": "t"}]},
    "status": {},
    "describe_experiments": {"names": ["trial:measure"]},
    "prepare_directories": {"output_dirs": ["results"]},
    "add_tasks": {"tasks": [CELL],
                  "experiments": [{"name": "trial:measure", "parameters": [PARAMETER]}]},
    "describe_tasks": {"all": True},
    "import_rows": {"rows": [{"signature": SIGNATURE, "result_data": {"a": 1}}]},
    "remember_files": {"files": {"good.yaml": ["grid"]}},
    "prune": {"given": 1, "phases": ["grid"]},
    "retry": {"all": True},
    "cancel": {"all": True},
    "rerun": {"all": True},
    "set_priority": {"all": True, "priority": 1},
    "pause": {"all": True},
    "resume": {"all": True},
    "drain": {"all": True},
    "unlink": {"output_dir": "results"},
    "repair": {},
    "audit": {},
}  # fmt: skip
"""A message of each type that decodes, with each nested object once."""

TEXT: list[Any] = [17, None, True, ["a"], {"a": 1}]
NAME = [*TEXT, "", "x" * 301]
LABEL = [*TEXT, "x" * 301]
SWITCH: list[Any] = ["yes", 1, None, []]
NUMBER: list[Any] = [-1, 1.5, "1", True, 2**53 + 1, []]
OBJECT: list[Any] = [None, 5, "a", [1], True]
FIELDS: dict[str, list[Any]] = {
    "token": [*TEXT, "x" * 1001],
    "worker_id": NAME,
    "task_id": NAME,
    "worker_type": [*TEXT, "tpu", ""],
    "host": LABEL,
    "device": LABEL,
    "code_version": LABEL,
    "pid": [*NUMBER, None],
    "attempt": NUMBER,
    "step": ["1", True, []],
    "total": ["1", True, []],
    "metrics": OBJECT,
    "holds": ["t", None, {"task_id": "t"}, ["t"]],
    "Heartbeat.tasks": ["t", None, {"task_id": "t"}, [1], [None], [""], [["t"]]],
    "count": [0, -1, 1001, 1.5, "1", None],
    "wait": [-0.1, 60.5, "1", None, True],
    "request_id": [17, True, ["a"], "x" * 101],
    "lease_seconds": [0.5, 0, -1, 86401, "60", None],
    "reserve": SWITCH,
    "want": [17, True, "", "x" * 301],
    "without": ["a", None, [1], [""], ["a"] * 1001],
    "result_data": OBJECT,
    "signature": [17, "", "0" * 31, "0" * 33, SIGNATURE.upper(), ["a"]],
    "seconds": ["1", True, []],
    "log_file": [*TEXT, "x" * 4097],
    "versions": OBJECT,
    "error": TEXT,
    "outcome": [*TEXT, "COMPLETED", "failed"],
    "reason": [*TEXT, "x" * 10001],
    "names": ["a", None, [1], [""]],
    "output_dirs": ["a", None, [1], [None]],
    "set_aside": SWITCH,
    "AddTasks.tasks": ["a", None, {}, [1], [{}]],
    "experiments": ["a", None, {}, [1], [{}]],
    "phase": [*TEXT, "", "a b", "a/b", "x" * 101],
    "experiment": NAME,
    "parameters": OBJECT,
    "output_dir": TEXT,
    "seed": [1.5, "1", True, [], 2**63, -(2**63) - 1],
    "runtime_only": ["a", None, [1]],
    "priority": [1.5, "1", True, None, 2**63],
    "max_attempts": [0, 1001, 1.5, "3", None],
    "left_seconds": ["1", True, [], -1],
    "limit_seconds": ["1", True, [], -1],
    "given": NUMBER,
    "files": ["a", None, [], {"a": "b"}, {"a": [1]}, {"a": [""]}],
    "phases": ["a", None, [1], [""]],
    "timeout_seconds": ["1", True, [], 0, -1],
    "cost": ["1", True, None, -1],
    "SetPriority.priority": [1.5, "1", True, 2**63],
    "move_to": [17, True, ["a"]],
    "command": ["a", 5, [1], {}, {"words": "a", "environment": {}}],
    "name": NAME,
    "ExperimentMemory.parameters": ["a", None, {}, [1], [{}]],
    "ParameterMemory.name": TEXT,
    "original": SWITCH,
    "first_default": [17, True, []],
    "last_default": [17, True, []],
    "select": ["a", None, [1], ["x" * 10_001], ["a"] * 1001],
    "all": SWITCH,
    "after": [*NUMBER, None],
    "dry_run": SWITCH,
    "rows": ["a", None, {}, [1], [{}]],
    "source": [*TEXT, "x" * 10_001],
}
"""By field, or by struct and field where one name means several things: what is refused."""


def bad_values(kind: type[Any], field: str) -> list[Any] | None:
    """What the field must not be; None when the table does not know it."""
    return FIELDS.get(f"{kind.__name__}.{field}", FIELDS.get(field))


class Malformed(NamedTuple):
    """A message with one bad field; the path that the answer must name."""

    message: dict[str, Any]
    path: str
    what: str


def malformed() -> Iterator[Malformed]:
    """For every field of every message, nested ones included: each bad value, and none."""
    for tag, kind in REQUESTS.items():
        for wrong, path, what in _spoilt(kind, GOOD[tag]):
            yield Malformed({"type": tag, **wrong}, path, f"{tag}: {what}")


def _spoilt(kind: type[Any], good: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, str]]:
    for field in msgspec.structs.fields(kind):
        name = field.encode_name
        for value in bad_values(kind, name) or []:
            yield good | {name: value}, f"$.{name}", f"{name}={value!r:.40}"
        if field.required:
            rest = {key: value for key, value in good.items() if key != name}
            yield rest, f"`{name}`", f"no {name}"
        if nested := _struct_in(field.type):
            for wrong, path, what in _spoilt(nested, good[name][0]):
                inner = path.replace("$", f"$.{name}[0]") if "$" in path else path
                yield good | {name: [wrong]}, inner, f"{name}: {what}"


def _struct_in(kind: Any) -> type[Any] | None:
    """The struct that the items of a list are."""
    for each in get_args(kind):
        if isinstance(each, type) and issubclass(each, msgspec.Struct):
            return each
        if found := _struct_in(each):
            return found
    return None


class Said(NamedTuple):
    """Bytes, or a message, that the manager must answer with an error of that code."""

    said: bytes | dict[str, Any]
    code: str
    named: str


T = "grid_0_1"
"""A task that is pending, which nobody holds."""
SAID = [
    Said(b"hello", "bad_message", "JSON"),
    Said(b"{", "bad_message", "JSON"),
    Said(b"\xff\xfe", "bad_message", "UTF-8"),
    Said(b"[]", "bad_message", "object"),
    Said(b"5", "bad_message", "object"),
    Said(b"null", "bad_message", "object"),
    Said(b"{}", "bad_message", "`type`"),
    Said(b'{"type": 5}', "bad_message", "$.type"),
    Said(b'{"type": "stauts"}', "bad_message", "stauts"),
    Said(b'{"type": "ack"}', "bad_message", "ack"),
    Said(b'{"type": "status"} {"type": "status"}', "bad_message", "JSON"),
    Said(b'{"type": "status", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}", "bad_message", "deep"),
    Said({"type": "submit_result", "task_id": "none", "worker_id": "w", "result_data": {}},
         "unknown_task", "'none'"),
    Said({"type": "submit_result", "task_id": T, "worker_id": "w", "result_data": {},
          "signature": SIGNATURE}, "unknown_task", SIGNATURE),
    Said({"type": "task_failed", "task_id": "none", "worker_id": "w", "error": "e"},
         "unknown_task", "'none'"),
    Said({"type": "task_failed", "task_id": T, "worker_id": "w", "error": "e"},
         "illegal_move", "request a task first"),
    Said({"type": "task_failed", "task_id": T, "worker_id": "w", "error": "e", "attempt": 7},
         "illegal_move", "request a task first"),
    Said({"type": "release", "task_id": "none", "worker_id": "w"}, "unknown_task", "'none'"),
    Said({"type": "release", "task_id": T, "worker_id": "w"}, "illegal_move",
         "request a task first"),
    Said({"type": "prepare_directories", "output_dirs": ["new", "trial.py"]}, "bad_directory",
         "trial.py: is a file"),
    Said({"type": "prepare_directories", "output_dirs": ["a\0b"]}, "bad_directory", "null"),
    Said({"type": "prepare_directories", "output_dirs": ["foreign"]}, "bad_directory",
         "another queue"),
    Said({"type": "prepare_directories", "output_dirs": ["own"]}, "bad_directory", "--set-aside"),
    Said({"type": "prepare_directories", "output_dirs": ["x" * 300]}, "bad_directory", "too long"),
    Said({"type": "add_tasks", "tasks": [CELL | {"output_dir": "never"}]}, "bad_directory",
         "never"),
    Said({"type": "add_tasks", "tasks": [CELL | {"experiment": "un:known"}]}, "bad_message",
         "'un:known'"),
]  # fmt: skip

TOO_LONG = b'{"type": "status", "x": "' + b"x" * protocol.MAX_MESSAGE_BYTES + b'"}\n'
