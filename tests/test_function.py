"""Python functions as experiments: found from the root, declared by their annotations.

Real modules in real folders; each test has a root of its own.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sqlqueue.errors import ExperimentError
from sqlqueue.experiments import Run, declare, load
from sqlqueue.plan.signature import digest
from sqlqueue.plan.task import REQUIRED, Experiment, Parameter

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a module into the root; returns the root."""

    def writing(source: str, name: str = "exp.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        return tmp_path

    return writing


@pytest.fixture(autouse=True)
def surroundings() -> Iterator[None]:
    """Whatever is declared leaves the module path and the modules as they were."""
    path, modules = list(sys.path), dict(sys.modules)
    yield
    assert sys.path == path
    for name in sys.modules.keys() - modules.keys():
        del sys.modules[name]
    assert {name: sys.modules.get(name) for name in modules} == modules


def handle(root: Path, **given: Any) -> Run:
    told = given.get("told", [])
    return Run(
        root / "checkpoints" / "a",
        "cpu",
        given.get("seed", 42),
        lambda step, total, metrics: told.append((step, total, metrics)),
        given.get("stop", bool),
    )


def call(root: Path, name: str, **config: Any) -> Any:
    return load(name, root)(config, handle(root))


def declared(root: Path, name: str = "exp:f") -> dict[str, Parameter]:
    return {each.name: each for each in declare(name, root).parameters}


# --- declaring ------------------------------------------------------------------------

KINDS = """
from typing import Annotated, Any, Literal, Optional, Union
from sqlqueue.experiments import RuntimeOnly

def f(
    i: int, x: float = 1, b: bool = True, s: str = "a", *,
    o: Optional[int] = None, u: float | None = 2, n: int = None,
    c: Literal["a", "b"] = "a", k: Literal[1, 2, None] = 1, m: Literal["a", 1] = 1,
    w: Annotated[int, RuntimeOnly] = 0, v: Annotated[str | None, "doc", RuntimeOnly()] = None,
    z: int | float = 0, y: int | str = 0, p: list[int] = [1], t: tuple = (1, (2,)), q=None,
    r: Any = {"a": 1}, run=None,
): ...
"""

EXPECTED = (
    Parameter("i", "int"),
    Parameter("x", "float", 1.0),
    Parameter("b", "bool", True),
    Parameter("s", "str", "a"),
    Parameter("o", "int", None, optional=True),
    Parameter("u", "float", 2.0, optional=True),
    Parameter("n", "int", None, optional=True),
    Parameter("c", "str", "a", choices=("a", "b")),
    Parameter("k", "int", 1, choices=(1, 2), optional=True),
    Parameter("m", "any", 1, choices=("a", 1)),
    Parameter("w", "int", 0, runtime_only=True),
    Parameter("v", "str", None, runtime_only=True, optional=True),
    Parameter("z", "float", 0.0),
    Parameter("y", "any", 0),
    Parameter("p", "any", [1]),
    Parameter("t", "any", [1, [2]]),
    Parameter("q", "any", None, optional=True),
    Parameter("r", "any", {"a": 1}),
)


@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"])
def test_annotations_and_defaults_are_the_declaration(write: Write, future: str) -> None:
    root = write(future + KINDS)
    assert declare("exp:f", root) == Experiment("exp:f", EXPECTED)


def test_an_annotation_that_does_not_resolve_takes_any_value(write: Write) -> None:
    root = write('def f(a: "Nowhere", b: "int" = 1, run: "Run" = None): ...')
    assert declared(root) == {"a": Parameter("a"), "b": Parameter("b", "int", 1)}


def test_kwargs_take_parameters_beyond_the_declared_ones(write: Write) -> None:
    root = write("def f(a: int, **more): return {'sum': a + more['b']}")
    assert declare("exp:f", root) == Experiment("exp:f", (Parameter("a", "int"),), open_ended=True)
    assert call(root, "exp:f", a=1, b=2) == {"sum": 3}


def test_a_method_a_partial_and_a_decorated_function_will_do(write: Write) -> None:
    root = write(
        "import functools\n"
        "class Lab:\n    @staticmethod\n    def f(a: int = 1): return {'a': a}\n"
        "def g(a: int, b: int = 2): return {'a': a, 'b': b}\n"
        "h = functools.partial(g, b=3)\n"
        "def deco(f):\n    @functools.wraps(f)\n    def inner(*a, **k): return f(*a, **k)\n"
        "    return inner\n"
        "@deco\ndef d(a: float = 1): return {'a': a}\n"
    )
    assert declared(root, "exp:Lab.f") == {"a": Parameter("a", "int", 1)}
    assert declared(root, "exp:h")["b"] == Parameter("b", "int", 3)
    assert declared(root, "exp:d") == {"a": Parameter("a", "float", 1.0)}
    assert call(root, "exp:h", a=1, b=5) == {"a": 1, "b": 5}


def test_a_change_of_the_file_is_seen_at_the_next_look(write: Write) -> None:
    root = write("def f(a: int = 1): ...")
    assert declared(root)["a"].default == 1
    write("def f(a: int = 22): ...")
    assert declared(root)["a"].default == 22


def test_modules_of_packages_and_of_namespaces_are_found(write: Write) -> None:
    write("", "pkg/__init__.py")
    write("from pkg.help import n\ndef f(a: int = n): return {'a': a}", "pkg/sub.py")
    write("n = 7", "pkg/help.py")
    root = write("def f(b: int = 8): return {'b': b}", "space/inner/mod.py")
    assert declared(root, "pkg.sub:f")["a"].default == 7
    assert declared(root, "space.inner.mod:f")["b"].default == 8
    assert call(root, "pkg.sub:f", a=1) == {"a": 1}


@pytest.mark.parametrize("name", ["yaml", "json", "queue"])
def test_a_module_of_the_root_wins_over_an_installed_namesake(write: Write, name: str) -> None:
    __import__(name)
    installed = sys.modules[name]
    root = write("def mine(a: int = 5): return {'a': a}", f"{name}.py")
    assert declared(root, f"{name}:mine")["a"].default == 5
    assert call(root, f"{name}:mine", a=6) == {"a": 6}
    assert sys.modules[name] is installed


def test_two_roots_may_have_modules_of_the_same_name(write: Write, tmp_path: Path) -> None:
    write("def f(a: int = 1): return {'a': 1}", "one/exp.py")
    write("def f(b: int = 2): return {'b': 2}", "two/exp.py")
    assert list(declared(tmp_path / "one")) == ["a"]
    assert list(declared(tmp_path / "two")) == ["b"]
    assert call(tmp_path / "one", "exp:f", a=1) == {"a": 1}
    assert call(tmp_path / "two", "exp:f", b=1) == {"b": 2}


def test_what_a_module_prints_stays_out_of_the_answer(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    declare("exp:f", write("print('hello')\ndef f(): ..."))
    assert capsys.readouterr() == ("", "hello\n")


def test_the_declaration_makes_signatures(write: Write) -> None:
    root = write(KINDS)
    experiment = declare("exp:f", root)
    assert digest(experiment, {"i": 1}) == digest(experiment, {"i": 1.0, "x": 1, "w": 8})
    assert declared(root)["i"].default is REQUIRED


# --- calling --------------------------------------------------------------------------


def test_the_handle_is_given_only_to_those_who_ask(write: Write) -> None:
    root = write(
        "def f(a, run): return {'device': run.device, 'seed': run.seed, 'a': a}\n"
        "def g(a): return {'a': a}\ndef h(**more): return more\n"
    )
    assert call(root, "exp:f", a=1) == {"device": "cpu", "seed": 42, "a": 1}
    assert call(root, "exp:g", a=1) == {"a": 1}
    assert call(root, "exp:h", a=1) == {"a": 1}


def test_tuples_that_the_queue_carried_as_lists_are_tuples_again(write: Write) -> None:
    root = write("def f(a=(1, 2), b=[1]): return {'a': repr(a), 'b': repr(b)}")
    assert call(root, "exp:f", a=[3, 4], b=[5]) == {"a": "(3, 4)", "b": "[5]"}


def test_a_parameter_that_the_function_has_lost_is_named(write: Write) -> None:
    root = write("def f(a): return {}")
    with pytest.raises(ExperimentError, match="exp:f takes no 'b' any more"):
        call(root, "exp:f", a=1, b=2)


def test_modules_stay_loaded_for_the_next_cell(write: Write) -> None:
    root = write("count = []\ndef f():\n    count.append(1)\n    return {'count': len(count)}")
    assert [call(root, "exp:f")["count"] for _ in range(3)] == [1, 2, 3]


def test_the_handle(tmp_path: Path) -> None:
    told: list[Any] = []
    run = handle(tmp_path, told=told, stop=lambda: True)
    assert not (tmp_path / "checkpoints").exists()
    assert run.directory.is_dir()
    assert run.directory == tmp_path / "checkpoints" / "a"
    run.report(1, 10, loss=0.5)
    run.report(2)
    assert told == [(1, 10, {"loss": 0.5}), (2, None, {})]
    assert run.should_stop() is True
    assert repr(run).startswith("Run(directory=")


# --- the built-in ---------------------------------------------------------------------


def test_the_built_in_is_found_by_its_name(tmp_path: Path) -> None:
    assert declare("poisoning", tmp_path).name == "poisoning"


# --- what goes wrong ------------------------------------------------------------------

SOURCE = """import os
from typing import Literal
def train(a: int = 1): ...
def star(*a): ...
def only(a, /): ...
def odd(a=object()): ...
def keys(a={1: 2}): ...
def ring(a=[]): ...
ring.__defaults__[0].append(ring.__defaults__[0])
def wrong(a: int = "x"): ...
def choice(a: Literal["x"] = "y"): ...
async def later(a): ...
def gen(a): yield {}
class Lab: ...
number = 5
"""

WRONG = [
    ("poisonin", "no experiment 'poisonin'", "did you mean 'poisoning'?"),
    ("exp:trian", "exp.py: no function 'trian'", "did you mean 'train'?"),
    ("exp:zzz", "exp.py: no function 'zzz'", "it has "),
    ("exp.py:train", "found 'exp.py:train'", "did you mean 'exp:train'?"),
    ("sub/exp.py:train", "expected 'package.module:function'", "did you mean 'sub.exp:train'?"),
    ("exp:", "found 'exp:'", "expected 'package.module:function'"),
    (":f", "found ':f'", "expected"),
    ("exp:f()", "found 'exp:f()'", "expected"),
    ("expp:train", "no module 'expp'", "did you mean 'exp'?"),
    ("no.such:train", "no module 'no.such'", "modules are found from"),
    ("exp:star", "exp.py:4: exp:star takes *a", "by name"),
    ("exp:only", "exp.py:5: exp:only: argument 'a'", "remove the /"),
    ("exp:odd", "exp.py:6: exp:odd: the default of 'a' (object)", "JSON"),
    ("exp:keys", "exp.py:7: exp:keys: the default of 'a' (dict)", "JSON"),
    ("exp:ring", "exp.py:8: exp:ring: the default of 'a' (list)", "JSON"),
    ("exp:wrong", "exp.py:10: exp:wrong: default of 'a'", "expected an integer"),
    ("exp:choice", "exp.py:11: exp:choice: default of 'a'", "expected one of x"),
    ("exp:later", "exp:later is an async function", "plain function"),
    ("exp:gen", "exp:gen is a generator", "plain function"),
    ("exp:Lab", "exp:Lab is a class", "plain function"),
    ("exp:number", "exp:number is a value of type int", "plain function"),
]


@pytest.mark.parametrize(("name", "found", "cure"), WRONG, ids=[row[0] for row in WRONG])
def test_what_cannot_be_declared_says_why(write: Write, name: str, found: str, cure: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        declare(name, write(SOURCE))
    assert found in caught.value.message
    assert cure in caught.value.message


FAILING = [
    ("import nothere", "exp.py:1: ModuleNotFoundError: No module named 'nothere'"),
    ("\nx = 1 / 0", "exp.py:2: ZeroDivisionError: division by zero"),
    ("def f(:\n", "exp.py:1: SyntaxError: invalid syntax"),
    ("\n\nx = [", "exp.py:3: SyntaxError"),
    ("import sys\nsys.exit(2)", "exp.py:2: it called sys.exit(2); put what a script does below"),
    ("import helper", "helper.py:2: ValueError: two lines"),
    ("class E(Exception):\n  def __str__(self): 1/0\nraise E", "exp.py:3: E: (no text)"),
]


@pytest.mark.parametrize(("source", "message"), FAILING, ids=[row[1][:30] for row in FAILING])
def test_a_module_that_fails_says_where(write: Write, source: str, message: str) -> None:
    write("\nraise ValueError('two\\nlines')", "helper.py")
    root = write(source)
    for look in (declare, load):
        with pytest.raises(ExperimentError) as caught:
            look("exp:f", root)
        assert f"module 'exp' cannot be imported: {root}/{message}" in caught.value.message
        assert "\n" not in caught.value.message
        assert caught.value.__suppress_context__


def test_a_look_at_a_module_leaves_signals_as_they_were(write: Write) -> None:
    before = signal.getsignal(signal.SIGTERM)
    ignored = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ndef f(): pass"
    assert declare("exp:f", write(ignored)).name == "exp:f"
    assert signal.getsignal(signal.SIGTERM) == before


def test_running_out_of_memory_is_not_the_users_mistake(write: Write) -> None:
    with pytest.raises(MemoryError):
        load("exp:f", write("raise MemoryError"))
