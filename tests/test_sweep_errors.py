"""Bad sweep files: each problem is told with its file, line and key, and all at once.

A table.  Every row is a file with one thing wrong; the message must be one line, name the
place, and say what was found and expected.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sqlqueue.errors import ExperimentError, SweepError
from sqlqueue.plan.sweep import Sweep, load
from sqlqueue.plan.task import Experiment, Parameter

unhurried = settings(deadline=None)
"""A busy machine is no failure."""

POISONING = Experiment(
    "poisoning",
    (
        Parameter("dataset", "str", "digits", choices=("digits", "mnist")),
        Parameter("width_factor", "int", 4, minimum=1, maximum=64),
        Parameter("seed", "int", 42),
        Parameter("lr", "float", 0.1, minimum=0.0),
        Parameter("shuffle", "bool", False),
        Parameter("tag", "str", "none"),
        Parameter("patience", "int", None, optional=True),
        Parameter("num_workers", "int", 0, runtime_only=True),
    ),
)
OTHERS = {
    "m:needs": Experiment("m:needs", (Parameter("must", "int"), Parameter("seed", "int", 1))),
    "m:open": Experiment("m:open", (Parameter("seed", "int", 1),), open_ended=True),
    "m:bare": Experiment("m:bare", (), open_ended=True),
    "m:taken": Experiment("m:taken", (Parameter("phase", "str", "x"),)),
    "m:plain": Experiment("m:plain", (Parameter("x", default=1),)),
}


def lookup(name: str | Experiment) -> Experiment:
    if name == "poisoning":
        return POISONING
    if name in OTHERS:
        return OTHERS[name]
    raise ExperimentError(f"no experiment {name!r}")


def loaded(*texts: str) -> Sweep:
    return load([(f"{index}.yaml", text) for index, text in enumerate(texts)], lookup)


def problems(*texts: str) -> list[str]:
    with pytest.raises(SweepError) as caught:
        loaded(*texts)
    return caught.value.message.splitlines()


def phase(body: str, top: str = "defaults: {output_dir: r}") -> str:
    """A file whose phase `x` begins in line 2; `body` begins in line 3."""
    return f"{top}\nx:\n{body}\n"


def swept(line: str) -> str:
    """A file whose only combination stands in line 4."""
    return phase(f"  combinations:\n    {line}")


Row = tuple[str, str, int, str, str]
"""What is wrong, the file, the line, what stands before the problem, part of the problem."""

X = "phase 'x'"

ROWS: list[Row] = [
    # the text
    ("an empty file", "", 1, "", "expected phases"),
    ("only a comment", "# nothing\n", 1, "", "expected phases"),
    ("a list on top", "- a\n- b\n", 1, "", "expected phases"),
    ("a text on top", "\nhello\n", 2, "", "expected phases"),
    ("a tab", "x:\n\tcombinations: {seed: 1}\n", 2, "", "use spaces instead of the tab"),
    ("an open bracket", phase("  combinations: {seed: [1, 2"), 4, "", "begins in line 3"),
    ("an open quote", 'defaults: {output_dir: "r}\nx: 1\n', 3, "", "quoted scalar"),
    ("two documents", phase("  combinations: {seed: 1}") + "---\na: 1\n", 4, "", "second document"),
    ("a key twice on top", "defaults: {}\ndefaults: {}\n", 2, "", "'defaults': found twice"),
    ("a phase twice", swept("seed: 1") + "x: {}\n", 5, "", "'x': found twice in one mapping"),
    ("a key twice in a phase", phase("  combinations: {seed: 1}\n  combinations: {seed: 2}"), 4, "",
     "first in line 3"),
    ("a key twice in defaults", "defaults:\n  lr: 1\n  lr: 2\n", 3, "", "'lr': found twice"),
    ("a control character", "x:\n  a: \x01\n", 2, "", "YAML does not allow"),
    ("half a character", "x:\n  a: \ud800\n", 2, "", "UTF-8"),
    ("an escape of half a character", swept('tag: ["\\ud800"]'), 4, f"{X}, key 'tag'", "surrogate"),
    ("a tag", swept("tag: !!python/name:os.system x"), 4, f"{X}, key 'tag'", "tag !!python"),
    ("a tagged list", swept("tag: !!set {a}"), 4, "", "tag !!set"),
    ("an unknown alias", swept("seed: *seeds"), 4, "", "no &seeds stands before"),
    ("an alias of itself", swept("tag: &a [*a]"), 4, "", "inside of what it names"),
    ("a merge of a number", phase("  <<: 5\n  combinations: {seed: 1}"), 3, "", "after <<"),
    ("a list as a key", swept("? [a]\n    : 1"), 4, "", "as a key"),
    ("deep nesting", swept("tag: " + "[" * 60 + "]" * 60), 4, "", "deeper than"),
    ("a flood of aliases", "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)
    ), 6, "", "aliases written out"),
    # the top
    ("no phase", "defaults: {output_dir: r}\n", 1, "", "found no phase"),
    ("defaults are a list", "defaults: [1]\nx: {combinations: {seed: 1}, output_dir: r}\n", 1,
     "defaults, key 'defaults'", "found a list, expected a mapping"),
    ("a misspelled defaults", "default: {output_dir: r}\n", 1, "phase 'default'",
     "did you mean 'defaults'"),
    ("a setting on top", swept("seed: 1") + "lr: 0.1\n", 5, "phase 'lr'",
     "belongs into `defaults`"),
    ("an odd phase name", "a b:\n  combinations: {seed: 1}\n  output_dir: r\n", 1, "phase 'a b'",
     "letters"),
    ("a long phase name", f"{'a' * 101}:\n  combinations: {{seed: 1}}\n  output_dir: r\n", 1,
     "phase",
     "1 to 100"),
    ("seeds of the wrong kind", swept("tag: a") + "seeds: [1, two]\n", 5, "seeds, key 'seed'",
     'found the text "two"'),
    ("no seeds in the list", swept("tag: a") + "seeds: []\n", 5, "seeds, key 'seed'", "empty list"),
    ("seeds that nobody takes",
     phase("  combinations: {x: 1}\n  experiment: m:plain") + "seeds: [1]\n",
     5, "seeds, key 'seed'", "unknown parameter"),
    ("an unknown default",
     "defaults:\n  output_dir: r\n  wdth_factor: 4\nx: {combinations: {seed: 1}}\n",
     3, "defaults, key 'wdth_factor'", "did you mean 'width_factor'"),
    ("a default of the wrong kind", "defaults:\n  output_dir: r\n  lr: fast\n"
     "x: {combinations: {seed: 1}}\n", 3, "defaults, key 'lr'",
     'found the text "fast", expected a number'),
    ("a list in defaults",
     "defaults:\n  output_dir: r\n  lr: [0.1]\nx: {combinations: {seed: 1}}\n",
     3, "defaults, key 'lr'", "lists are swept in `combinations` only"),
    # the phase
    ("a phase that is a list", "x: [1]\n", 1, X, "found a list, expected a phase"),
    ("a phase without combinations", phase("  output_dir: r"), 2, X, "found no `combinations`"),
    ("an unknown key in a phase", swept("seed: 1") + "  prioriti: 5\n", 5, f"{X}, key 'prioriti'",
     "did you mean 'priority'"),
    ("a parameter as a key of a phase", swept("seed: 1") + "  lr: 5\n", 5, f"{X}, key 'lr'",
     "a parameter belongs into"),
    ("a phase's defaults are a text", swept("seed: 1") + "  defaults: a\n", 5,
     f"{X}, key 'defaults'",
     "expected a mapping"),
    ("no output_dir", "x:\n  combinations: {seed: 1}\n", 1, f"{X}, key 'output_dir'",
     "found no output_dir"),
    # combinations
    ("combinations are a text", phase("  combinations: all"), 3, f"{X}, key 'combinations'",
     "one-key mappings"),
    ("combinations are empty", phase("  combinations: []"), 3, f"{X}, key 'combinations'",
     "found an empty list"),
    ("combinations are nothing", phase("  combinations:"), 3, f"{X}, key 'combinations'",
     "nothing"),
    ("an item that is no mapping", swept("- seed"), 4, f"{X}, key 'combinations'", "`key: value`"),
    ("an item with two keys", swept("- {seed: 1, lr: 2}"), 4, f"{X}, key 'combinations'",
     "found 2 keys"),
    ("a key swept twice", swept("- seed: [1]\n    - seed: [2]"), 5, f"{X}, key 'seed'",
     "first in line 4"),
    ("an unknown parameter", swept("- sed: [1]"), 4, f"{X}, key 'sed'", "did you mean 'seed'"),
    ("a reserved name", swept("- phase: a"), 4, f"{X}, key 'phase'", "taken by sqlqueue"),
    ("an empty list", swept("- seed: []"), 4, f"{X}, key 'seed'", "empty list"),
    ("a text for an integer", swept("- seed: [1, abc]"), 4, f"{X}, key 'seed'", 'the text "abc"'),
    ("a fraction for an integer", swept("- seed: 4.5"), 4, f"{X}, key 'seed'",
     "found the number 4.5, expected an integer"),
    ("true for an integer", swept("- seed: true"), 4, f"{X}, key 'seed'", "found true"),
    ("true for a number", swept("- lr: true"), 4, f"{X}, key 'lr'",
     "found true, expected a number"),
    ("a text for a number", swept("- lr: [0.1, abc]"), 4, f"{X}, key 'lr'", 'the text "abc"'),
    ("an inexact integer", swept("- seed: 1e30"), 4, f"{X}, key 'seed'", "expected an integer"),
    ("yes for a boolean", swept("- shuffle: yes"), 4, f"{X}, key 'shuffle'", "true and false"),
    ("1 for a boolean", swept("- shuffle: 1"), 4, f"{X}, key 'shuffle'", "expected true or false"),
    ("true for a text", swept("- tag: true"), 4, f"{X}, key 'tag'", "expected a text"),
    ("nothing for an integer", swept("- seed: [1, null]"), 4, f"{X}, key 'seed'", "nothing (null)"),
    ("a value left out", swept("- seed:"), 4, f"{X}, key 'seed'", "nothing (null)"),
    ("a mapping for an integer", swept("- seed: [{a: 1}]"), 4, f"{X}, key 'seed'",
     "found a mapping"),
    ("a list in a list", swept("- seed: [[1]]"), 4, f"{X}, key 'seed'", "found a list"),
    ("too small", swept("- width_factor: [0]"), 4, f"{X}, key 'width_factor'", "from 1 to 64"),
    ("too large", swept("- width_factor: [65]"), 4, f"{X}, key 'width_factor'", "from 1 to 64"),
    ("nan where there are bounds", swept("- lr: .nan"), 4, f"{X}, key 'lr'", "at least 0"),
    ("not a choice", swept("- dataset: [minst]"), 4, f"{X}, key 'dataset'", "did you mean 'mnist'"),
    ("a leading zero", swept("- seed: [012]"), 4, f"{X}, key 'seed'", "write 12"),
    ("a number beyond floats", swept("- lr: 1e999"), 4, f"{X}, key 'lr'", "write .inf"),
    ("a number below floats", swept("- lr: 1e-999"), 4, f"{X}, key 'lr'", "write 0"),
    ("an integer beyond floats", swept(f"- lr: 1{'0' * 350}"), 4, f"{X}, key 'lr'", "a number"),
    ("an endless integer", swept(f"- seed: {'9' * 5000}"), 4, f"{X}, key 'seed'", "5000 digits"),
    ("a runtime-only parameter swept", swept("- num_workers: [1, 2]"), 4, f"{X}, key 'num_workers'",
     "runtime only"),
    ("a bad value in its own line", swept("seed:\n      - 1\n      - two\n"), 6, f"{X}, key 'seed'",
     '"two"'),
    ("far too many cells", swept(
        "{" + ", ".join(f"{k}: [{','.join(map(str, range(1, 65)))}]" for k in
                        ("seed", "lr", "width_factor", "patience", "tag")) + "}"
    ), 2, X, "found 1073741824 cells"),
    # experiments
    ("an unknown experiment", swept("seed: 1") + "  experiment: poisonin\n", 5,
     f"{X}, key 'experiment'", "no experiment 'poisonin'"),
    ("a mapping without a command", swept("seed: 1") + "  experiment: {comand: ls}\n", 5,
     f"{X}, key 'comand'", "did you mean 'command'"),
    ("an experiment that is a number", swept("seed: 1") + "  experiment: 5\n", 5,
     f"{X}, key 'experiment'", "found the number 5"),
    ("two experiments", phase("  combinations: {experiment: [a, b]}"), 3, f"{X}, key 'experiment'",
     "found a list"),
    ("a parameter with a name of ours", swept("seed: 1") + "  experiment: m:taken\n", 5,
     f"{X}, key 'experiment'", "has a parameter 'phase'"),
    ("a required parameter left out", swept("seed: 1") + "  experiment: m:needs\n", 2, X,
     "parameter 'must' of experiment 'm:needs'"),
    # steering
    ("a priority of text", swept("seed: 1") + "  priority: high\n", 5, f"{X}, key 'priority'",
     "expected an integer"),
    ("no attempts", swept("seed: 1") + "  max_attempts: 0\n", 5, f"{X}, key 'max_attempts'",
     "from 1 to 1000"),
    ("half an attempt", swept("seed: 1") + "  max_attempts: 2.5\n", 5, f"{X}, key 'max_attempts'",
     "expected an integer"),
    ("a timeout of text", swept("seed: 1") + "  timeout: soon\n", 5, f"{X}, key 'timeout'",
     "like 3:50:00"),
    ("no time", swept("seed: 1") + "  timeout: 0\n", 5, f"{X}, key 'timeout'", "above 0"),
    ("an ambiguous timeout", swept("seed: 1") + "  timeout: 3:50\n", 5, f"{X}, key 'timeout'",
     "3:50:00"),
    ("endless time", swept("seed: 1") + "  timeout: .inf\n", 5, f"{X}, key 'timeout'", "seconds"),
    ("two project names", swept("seed: 1") + "  project_name: [a, b]\n", 5,
     f"{X}, key 'project_name'", "one name"),
    ("a steering key given twice", phase("  priority: 1\n  combinations: {priority: 2, seed: 1}"),
     4,
     f"{X}, key 'priority'", "first in line 3"),
    # output_dir
    ("an unknown placeholder", swept("seed: 1") + "  output_dir: 'r_{datset}'\n", 5,
     f"{X}, key 'output_dir'", "did you mean 'dataset'"),
    ("an open brace", swept("seed: 1") + "  output_dir: 'r_{dataset'\n", 5,
     f"{X}, key 'output_dir'",
     "write {{"),
    ("an empty placeholder", swept("seed: 1") + "  output_dir: 'r_{}'\n", 5,
     f"{X}, key 'output_dir'", "between the braces"),
    ("a format", swept("seed: 1") + "  output_dir: 'r_{lr:.2f}'\n", 5, f"{X}, key 'output_dir'",
     "expected {lr}"),
    ("an empty output_dir", swept("seed: 1") + "  output_dir: ''\n", 5, f"{X}, key 'output_dir'",
     "empty text"),
    ("a home", swept("seed: 1") + "  output_dir: '~/r'\n", 5, f"{X}, key 'output_dir'",
     "~ is not expanded"),
    ("an output_dir that is a number", swept("seed: 1") + "  output_dir: 5\n", 5,
     f"{X}, key 'output_dir'", "expected a folder"),
    ("an output_dir that is a list", swept("seed: 1") + "  output_dir: [a]\n", 5,
     f"{X}, key 'output_dir'", "found a list"),
    ("a way out of the folder", swept("tag: [a, ../b]") + "  output_dir: 'r/{tag}'\n", 4,
     f"{X}, key 'tag'", '"../b"'),
    ("the folder above", swept("tag: [..]") + "  output_dir: 'r/{tag}'\n", 4, f"{X}, key 'tag'",
     'found the text ".."'),
    ("no folder name", swept("tag: ['']") + "  output_dir: 'r/{tag}'\n", 4, f"{X}, key 'tag'",
     'found the text ""'),
    ("a NUL in a folder name", swept('tag: ["a\\0b"]') + "  output_dir: 'r/{tag}'\n", 4,
     f"{X}, key 'tag'", "folder's name"),
    ("a folder name that is too long", swept(f"tag: {'a' * 201}") + "  output_dir: 'r/{tag}'\n", 4,
     f"{X}, key 'tag'", "200 bytes"),
    ("a list in a folder name",
     swept("{x: [[1]]}") + "  experiment: m:plain\n  output_dir: '{x}'\n", 4,
     f"{X}, key 'x'", "found a list"),
    # zip
    ("zip is a text", swept("seed: [1]") + "  zip: seed\n", 5, f"{X}, key 'zip'",
     "at least one item"),
    ("zip is empty", swept("seed: [1]") + "  zip: []\n", 5, f"{X}, key 'zip'", "at least one item"),
    ("zip of lists of different lengths",
     swept("{seed: [1, 2], lr: [1]}") + "  zip: [[seed, lr]]\n", 5,
     f"{X}, key 'zip'", "'seed' has 2, 'lr' has 1"),
    ("zip of an unknown key", swept("{seed: [1, 2], lr: [1, 2]}") + "  zip: [seeed, lr]\n", 5,
     f"{X}, key 'zip'", "did you mean 'seed'"),
    ("zip of a fixed key", swept("{seed: [1, 2], lr: 1}") + "  zip: [seed, lr]\n", 5,
     f"{X}, key 'zip'", "found 'lr', expected a key with a list"),
    ("zip of a key in two groups", swept("{seed: [1], lr: [1], tag: [a]}")
     + "  zip: [[seed, lr], [tag, lr]]\n", 5, f"{X}, key 'zip'", "in two groups"),
    ("zip that sweeps again", swept("seed: [1]") + "  zip: {seed: [2], lr: [1]}\n", 5,
     f"{X}, key 'seed'", "found twice"),
    ("zip with an unknown parameter", swept("seed: [1]") + "  zip: {sede: [2], lr: [1]}\n", 5,
     f"{X}, key 'sede'", "did you mean 'seed'"),
    ("zip with a bare name among groups", swept("seed: [1]") + "  zip: [[seed], lr]\n", 5,
     f"{X}, key 'zip'", 'found the text "lr"'),
    # exclude and include
    ("exclude is a mapping", swept("seed: [1]") + "  exclude: {seed: 1}\n", 5,
     f"{X}, key 'exclude'",
     "expected a list"),
    ("exclude of everything", swept("seed: [1]") + "  exclude: [{}]\n", 5, f"{X}, key 'exclude'",
     "empty mapping"),
    ("exclude of an unknown key", swept("seed: [1]") + "  exclude:\n    - sed: 1\n", 6,
     f"{X}, key 'sed'", "did you mean 'seed'"),
    ("exclude of the wrong kind", swept("seed: [1]") + "  exclude:\n    - seed: a\n", 6,
     f"{X}, key 'seed'", "expected an integer"),
    ("exclude of a key that no cell has", swept("seed: [1]") + "  experiment: m:open\n"
     "  exclude: [{sed: 1}]\n", 6, f"{X}, key 'sed'", "no cell of the phase"),
    ("exclude of a seed that no cell has", swept("a: [1]") + "  experiment: m:bare\n"
     "  exclude: [{seed: 1}]\n", 6, f"{X}, key 'seed'", "no cell of the phase"),
    ("exclude of a steering key", swept("seed: [1]") + "  exclude: [{priority: 1}]\n", 5,
     f"{X}, key 'priority'", "steers the whole phase"),
    ("include is a number", swept("seed: [1]") + "  include: 5\n", 5, f"{X}, key 'include'",
     "expected a list"),
    ("include of half a cell", swept("seed: [1]") + "  include:\n    - lr: 5\n", 6,
     f"{X}, key 'include'", "without 'seed'"),
    ("include of the wrong kind", swept("seed: [1]") + "  include:\n    - seed: x\n", 6,
     f"{X}, key 'seed'", "expected an integer"),
    ("include of an unknown key", swept("seed: [1]") + "  include: [{seed: 1, lrr: 5}]\n", 5,
     f"{X}, key 'lrr'", "did you mean 'lr'"),
    ("include of no choice", swept("seed: [1]") + "  include: [{seed: 1, dataset: []}]\n", 5,
     f"{X}, key 'dataset'", "empty list"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "where", "part"), [row[1:] for row in ROWS],
                         ids=[row[0] for row in ROWS])  # fmt: skip
def test_a_problem_is_told_with_its_place(text: str, line: int, where: str, part: str) -> None:
    found = problems(text)
    prefix = f"0.yaml:{line}: {where}: " if where.count("'") > 1 else f"0.yaml:{line}: {where}"
    matching = [each for each in found if each.startswith(prefix) and part in each]
    assert len(matching) == 1, "\n".join(found)
    assert all(re.match(r"0\.yaml:\d+: ", each) for each in found)


LOUD = {"a flood of aliases", "two documents"}
"""Files whose one slip is two problems."""


def test_one_slip_is_one_problem() -> None:
    several = {row[0]: problems(row[1]) for row in ROWS if len(problems(row[1])) > 1}
    assert {name: found for name, found in several.items() if name not in LOUD} == {}


def test_all_problems_of_all_files_are_told_in_order() -> None:
    found = problems(
        swept("seed: [a, 1, b]") + "  priority: x\n",
        "x: [1",
        "defaults: {lr: x}\ny:\n  combinations: {sed: 1}\n",
    )
    assert [each.split(": ")[0] for each in found] == [
        "0.yaml:4", "0.yaml:4", "0.yaml:5", "1.yaml:1", "2.yaml:1", "2.yaml:2", "2.yaml:3",
    ]  # fmt: skip


def test_a_shared_default_is_told_once() -> None:
    phases = "a: {combinations: {seed: 1}}\nb: {combinations: {seed: 2}}\n"
    assert len(problems("defaults: {output_dir: r, lr: x}\n" + phases)) == 1


def test_a_phase_has_one_experiment() -> None:
    found = problems(swept("seed: 1"), swept("seed: 1") + "  experiment: m:open\n")
    assert len(found) == 1
    assert "1.yaml:2: phase 'x': runs experiment 'm:open', but 'poisoning' in 0.yaml:2" in found[0]


def test_an_experiment_that_cannot_be_found_hides_no_other_problem() -> None:
    text = "defaults: {output_dir: r, unknown: 1}\nx: {combinations: {a: 1}, experiment: nope}\n"
    assert problems(text) == ["0.yaml:2: phase 'x', key 'experiment': no experiment 'nope'"]


# --- whatever the text, nothing but a SweepError --------------------------------------

FRAGMENTS = [
    "defaults", "x", "seeds", "combinations", "exclude", "include", "zip", "output_dir", "seed",
    "lr",
    "dataset", "experiment", "timeout", "priority", ":", ": ", "- ", "\n", "\n  ", "\n    ", "[",
    "]",
    "{", "}", ", ", "&a ", "*a", "<<: ", "!!str ", "? ", "|", ">", "'", '"', "#", "~", "1", "4.5",
    "true", "mnist", "'{dataset}'", "\t", "---\n", "...\n", "%YAML 1.2\n", "m:open", "012", ".nan",
    "@",
]  # fmt: skip


def outcome(text: str) -> Sweep | SweepError:
    try:
        return loaded(text)
    except SweepError as error:
        assert all(re.match(r"0\.yaml:\d+: ", each) for each in error.message.splitlines())
        return error


@unhurried
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join))
@example("? ")
@example("'")
@example("{")
@example("x: *a")
def test_fragments_of_sweep_files_are_read_or_refused(text: str) -> None:
    found = outcome(text)
    if isinstance(found, Sweep):
        assert sum(1 for _ in found.tasks()) == found.count


@unhurried
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    outcome(text)


trees = st.recursive(
    st.sampled_from(["1", "a", "true", "''", "4.5", "mnist", "~", "'{seed}'"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda each: f"[{', '.join(each)}]"),
        st.dictionaries(st.sampled_from([*FRAGMENTS[2:14], "q"]), inner, max_size=4).map(
            lambda each: "{" + ", ".join(f"{key}: {value}" for key, value in each.items()) + "}"
        ),
    ),
    max_leaves=12,
)


@unhurried
@given(trees, trees, trees)
def test_any_shape_is_read_or_refused(defaults: str, combinations: str, rest: str) -> None:
    outcome(
        f"defaults: {defaults}\nx: {rest}\ny: {{output_dir: r, combinations: {combinations}}}\n"
    )
    outcome(
        f"x: {{output_dir: r, combinations: {{seed: [1]}}, zip: {rest}, include: {defaults}}}\n"
    )
    outcome(f"x: {{output_dir: r, combinations: {{seed: [1]}}, exclude: {combinations}}}\n")
