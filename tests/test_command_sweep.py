"""`experiment: {command: ...}` in a sweep file: what it defines, its identity, its errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from sqlqueue.declarations import Declarations, recall_nothing
from sqlqueue.errors import SweepError
from sqlqueue.plan.command import PlaceholderError, fill, names, spelled
from sqlqueue.plan.sweep import Sweep, load
from sqlqueue.plan.task import Experiment, Task
from sqlqueue.protocol import ExperimentMemory

PHASE = "one: {{output_dir: out, combinations: {cells}, experiment: {experiment}}}\n"


def sweep(*texts: str) -> Sweep:
    files = [(f"{number}.yaml", text) for number, text in enumerate(texts)]
    return load(files, Declarations(Path("/nowhere"), recall_nothing))


def cells(experiment: str, combinations: str) -> list[Task]:
    return list(sweep(PHASE.format(experiment=experiment, cells=combinations)).tasks())


def defined(experiment: str, combinations: str = "{x: 1}") -> Experiment:
    (found,) = sweep(PHASE.format(experiment=experiment, cells=combinations)).experiments.values()
    return found


def problems(*texts: str) -> list[str]:
    with pytest.raises(SweepError) as caught:
        sweep(*texts)
    return caught.value.message.splitlines()


def problem(experiment: str, combinations: str = "{x: 1}") -> str:
    found = problems(PHASE.format(experiment=experiment, cells=combinations))
    assert len(found) == 1, found
    return found[0]


# --- what values become -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a 'b' \"c\" $x\n", "a 'b' \"c\" $x\n"), ("", ""), (None, ""), (True, "true"),
        (False, "false"), (4, "4"), (100.0, "100"), (0.1, "0.1"), (1e-05, "1e-5"), (-2.5, "-2.5"),
        (float("nan"), "nan"), (float("-inf"), "-inf"), (1e300, "1e300"),
        ([1, "é", None], '[1, "é", null]'), ({"a": 0.5}, '{"a": 0.5}'),
    ],
)  # fmt: skip
def test_a_value_has_one_text(value: object, text: str) -> None:
    assert spelled(value) == text


def test_braces_and_placeholders() -> None:
    assert fill("{{{a}}}-{a.b}{run.seed}", {"a": 1, "a.b": "x{a}", "run.seed": 7}) == "{1}-x{a}7"
    assert names("{a}{{b}}{run.device}") == ["a", "run.device"]
    for wrong in ("{", "}", "{}", "{a!r}", "{a:2}", "{ a }", "{run.nothing}", "{0}"):
        with pytest.raises(PlaceholderError, match="expected"):
            names(wrong)


# --- what it defines --------------------------------------------------------------------


def test_words_are_split_as_a_shell_does_and_no_more() -> None:
    found = defined('{command: "a \'b c\' \\"d\\" e\\\\ f $HOME *.py ; x > y {x}"}').command
    assert found is not None
    expected = ("a", "b c", "d", "e f", "$HOME", "*.py", ";", "x", ">", "y", "{x}")
    assert found.words == expected


def test_a_list_is_the_words() -> None:
    found = defined("{command: [a, 'b c', '{x}', 5, '']}").command
    assert found is not None
    assert found.words == ("a", "b c", "{x}", "5", "")


def test_undeclared_the_placeholders_are_the_parameters_and_seed_may_be_given() -> None:
    experiment = "{command: 'a {x} {run.directory}', environment: {Y: '{y}'}}"
    (task,) = cells(experiment, "{x: 1, y: [z]}")
    assert task.parameters == {"x": 1, "y": "z", "seed": None}
    (other,) = cells(experiment, "{x: 1, y: z, seed: 3}")
    assert (other.seed, other.parameters["seed"]) == (3, 3)
    assert "'y' of experiment" in problem(experiment, "{x: 1}")
    assert "did you mean 'x'" in problem("{command: 'a {x}'}", "{x: 1, xx: 2}")


def test_a_seed_that_no_cell_has_does_not_count() -> None:
    (bare,) = cells("{name: n, command: 'a {x}'}", "{x: 1}")
    (null,) = cells("{name: n, command: 'a {x}', parameters: {x: any}}", "{x: 1}")
    assert bare.signature == null.signature


DECLARED = """{name: n, command: 'a {width} {lr}', parameters: {
    width: {type: int, minimum: 1, maximum: 8}, lr: {type: float, default: 1}, tag: str,
    model: {choices: [mlp, cnn], default: cnn},
    workers: {type: int, default: 4, runtime_only: true},
    depth: {type: int, optional: true, default: null}}}"""


def test_declared_parameters_are_as_strict_as_those_of_a_function() -> None:
    (task,) = cells(DECLARED, "{width: 4.0, tag: 5}")
    assert task.parameters == {
        "width": 4, "lr": 1.0, "tag": "5", "model": "cnn", "workers": 4, "depth": None,
    }  # fmt: skip
    assert task.runtime_only == ("workers",)
    (same,) = cells(DECLARED.replace("default: 4", "default: 9"), "{width: 4, tag: 5}")
    assert same.signature == task.signature
    for given, said in {
        "{width: 9, tag: a}": "from 1 to 8", "{width: 1.5, tag: a}": "an integer",
        "{width: 1}": "'tag' of experiment 'n' has no default",
        "{width: 1, tag: a, model: cnm}": "did you mean 'cnn'",
        "{width: 1, tag: a, seed: 1}": "unknown parameter", "{width: 1, tag: true}": "a text",
    }.items():  # fmt: skip
        assert said in problem(DECLARED, given)


# --- identity ---------------------------------------------------------------------------


def test_the_name_is_the_identity_and_without_one_the_text() -> None:
    (one,) = cells("{name: n, command: 'a {x}'}", "{x: 1}")
    (two,) = cells("{name: n, command: 'b --new {x}', directory: d}", "{x: 1.0}")
    assert one.signature == two.signature
    (bare,) = cells("{command: 'a {x}'}", "{x: 1}")
    (other,) = cells("{command: 'b {x}'}", "{x: 1}")
    (named,) = cells("{name: 'a {x}', command: 'b {x}'}", "{x: 1}")
    assert bare.experiment == "a {x}"
    assert bare.signature == named.signature != other.signature


def test_two_definitions_under_one_name_are_told_with_both_places() -> None:
    one = PHASE.format(experiment="{name: n, command: 'a {x}'}", cells="{x: 1}")
    two = one.replace("one:", "\ntwo:").replace("a {x}", "b {x}")
    assert sweep(one, one.replace("one:", "two:")).count == 2
    (found,) = problems(one, two)
    assert found.startswith("1.yaml:2: phase 'two', key 'experiment'")
    assert "otherwise than 0.yaml:1" in found


# --- errors -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("experiment", "key", "said"),
    [
        ("{command: ''}", "command", "expected a program"),
        ("{command: }", "command", "nothing (null), expected a program"),
        ("{command: []}", "command", "an empty list"),
        ("{command: [a, [b]]}", "command", "found a list, expected a word"),
        ("{command: [a, null]}", "command", "expected a word"),
        ("{command: ['', b]}", "command", "in place of the program"),
        ("{command: \"a 'b\"}", "command", "no closing quotation"),
        ("{command: 'a {'}", "command", "a lone '{'"),
        ("{command: 'a {x:.2f}'}", "command", "the name of a parameter"),
        ("{command: 'a {run.devise}'}", "command", "{run.device}"),
        ("{command: \"sh -c 'a {x}'\"}", "command", "read as code; hand it over"),
        ("{command: [sh, -c, --, 'a {x}']}", "command", "read as code; hand it over"),
        ("{command: [bash, -c, -e, 'a {x}']}", "command", "read as code; hand it over"),
        ("{command: [/bin/sh, -eEc, 'a {x}']}", "command", "read as code; hand it over"),
        ("{command: [env, A=1, fish, -c, 'a {x}']}", "command", "read as code; hand it over"),
        ("{command: \"/bin/bash -ec 'a {x}'\"}", "command", "read as code"),
        ("{command: 'a {x}', nmae: b}", "nmae", "did you mean 'name'"),
        ("{command: 'a {x}', shell: true}", "shell", "unknown key of a command"),
        ("{command: 'a {x}', name: poisoning}", "name", "a built-in's"),
        ("{command: 'a {x}', name: 'train:main'}", "name", "looks like a function's"),
        ("{command: poisoning}", "command", "give it a `name`"),
        ("{command: 'a:b'}", "command", "give it a `name`"),
        ("{command: 'a {x}', name: [b]}", "name", "expected a name"),
        ("{command: 'a {x}', environment: [b]}", "environment", "a mapping of variables"),
        ("{command: 'a {x}', environment: {A-B: c}}", "A-B", "the name of a variable"),
        ("{command: 'a {x}', environment: {A: [c]}}", "A", "expected a text"),
        ("{command: 'a {x}', environment: {A: '{'}}", "A", "a lone '{'"),
        ("{command: 'a {x}', environment: {SQLQUEUE_RESULT: c}}", "SQLQUEUE_RESULT", "own"),
        ("{command: 'a {x}', environment: {CUDA_VISIBLE_DEVICES: 1}}", "CUDA_VISIBLE_DEVICES",
         "the device is the worker's"),
        ("{command: 'a {x}', directory: /tmp}", "directory", "in the root"),
        ("{command: 'a {x}', directory: a/../../b}", "directory", "without .."),
        ("{command: 'a {x}', directory: 'd_{x}'}", "directory", "not supported"),
        ("{command: 'a {x}', parameters: [x]}", "parameters", "expected a mapping"),
        ("{command: 'a {x}', parameters: {x: integer}}", "x", "did you mean 'int'"),
        ("{command: 'a {x}', parameters: {x: {typ: int}}}", "x", "did you mean 'type'"),
        ("{command: 'a {x}', parameters: {x: {type: int, default: b}}}", "x", "default: found"),
        ("{command: 'a {x}', parameters: {x: {choices: []}}}", "x", "a list of values"),
        ("{command: 'a {x}', parameters: {x: {optional: maybe}}}", "x", "true or false"),
        ("{command: 'a {x}', parameters: {x: {type: str, minimum: 1}}}", "x", "need `type: int`"),
        ("{command: 'a {x}', parameters: {x: {type: int, minimum: a}}}", "x", "a number"),
        ("{command: 'a {x} {z}', parameters: {x: int, zz: {default: 1}}}", "command", "'zz'"),
        ("{command: 'a {x}', parameters: {x: int, run.y: {default: 1}}}", "run.y", "the name"),
    ],
)  # fmt: skip
def test_an_error_names_file_line_and_key(experiment: str, key: str, said: str) -> None:
    found = problem("\n  " + experiment)
    assert found.startswith(f"0.yaml:2: phase 'one', key '{key}'"), found
    assert said in found


def test_parameters_cannot_bear_names_that_sqlqueue_needs() -> None:
    assert "has a parameter 'task_id'" in problem("{command: 'a {task_id}'}", "{task_id: 1}")


# --- what init tells --------------------------------------------------------------------


def notes(root: Path, experiment: str, *before: str) -> list[str]:
    memories: dict[str, ExperimentMemory] = {}

    def recall(names: Sequence[str]) -> list[ExperimentMemory]:
        return [each for name, each in memories.items() if name in names or not names]

    for each in (*before, experiment):
        declarations = Declarations(root, recall)
        load([("a.yaml", PHASE.format(experiment=each, cells="{x: 1}"))], declarations)
        memories |= declarations.memories
    return declarations.notes


def test_a_changed_command_is_told(tmp_path: Path) -> None:
    old, new = "{name: n, command: 'echo {x}'}", "{name: n, command: 'echo -n {x}'}"
    assert notes(tmp_path, old, old) == []
    assert notes(tmp_path, new, old) == ["n: the command changed: later attempts run the new one"]


def test_another_text_without_a_name_is_told(tmp_path: Path) -> None:
    (said,) = notes(tmp_path, "{command: 'echo --width {x} -v'}", "{command: 'echo --width {x}'}")
    assert "these are other cells than those of 'echo --width {x}'" in said
    assert '`name: "echo --width {x}"`' in said
    assert notes(tmp_path, "{command: 'true {x}'}", "{command: 'echo --width {x}'}") == []
    assert notes(tmp_path, "{name: n2, command: 'true {x}'}", "{name: n1, command: 'a {x}'}") == []


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    assert notes(tmp_path, "{name: n, command: 'not-a-program {x}'}") == [
        "n: the program 'not-a-program' is not found on this machine"
    ]
    (said,) = notes(tmp_path, "{name: n, command: './run {x}', directory: code}")
    assert said == f"n: the folder {tmp_path / 'code'} is not there"
