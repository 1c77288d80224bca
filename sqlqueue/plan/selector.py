"""Selectors: the words that name tasks, the same for every verb.  All of them must hold.

* `exp1_0_42`: the task of that id; of several, any.
* `phase=exp1`, `state=failed`, `worker=gpu0`, `host=node7`, `device=cuda:0`: any of the words
  between commas, in which `*`, `?` and `[...]` stand for what they do in a shell.
* `code=a1b2c3d`: what it measured comes from that version of the code (`version.py`).
* `error=CUDA out of memory`: what the last failed attempt said has this in its first line; or the
  name of a kind, as `failures` shows it.
* Any other name is a parameter: `width_factor=64`, `lr<=0.1`, `model!=cnn`, `optimizer.name=sgd`.

Values compare as signatures do: `1`, `1.0` and `1e0` are one number, `true` is none.  A value of
another kind (text, where a number is asked for) never matches, and neither does a task without
the parameter.  `"64"` in double quotes is a text; so is any word that is no number; `[1, 2]` is a
list.  No word at all is an error; everything has a word of its own.  Pure.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from sqlqueue.errors import UsageError
from sqlqueue.lifecycle import State
from sqlqueue.plan.problems import did_you_mean
from sqlqueue.plan.signature import canonical
from sqlqueue.plan.version import is_meant

EVERYTHING: Final = "--all"
OF_ATTEMPTS: Final = ("worker", "host", "device", "error", "code")
"""Conditions on the last attempt of a task; `code`: on that whose result stands, if one does."""
MOST_WORDS: Final = 1000

_WORD: Final = re.compile(r"([A-Za-z_][\w.-]*)\s*(<=|>=|!=|==|=|<|>)\s*(.*)", re.DOTALL)
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WORDS: Final[dict[str, Any]] = {
    "true": True, "false": False, "null": None, "none": None,
    "nan": math.nan, "inf": math.inf, "-inf": -math.inf,
}  # fmt: skip
_LONGEST: Final = 1000
"""Digits of a whole number: Python limits what it reads."""
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Condition:
    """`values`: of a parameter every reading of every value, of anything else patterns."""

    word: str
    name: str
    operator: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Ran:
    """What is known of a task's last attempt; `error`: the headline of its last failure, `kind`:
    the name of its kind (`kind.py`).  `code`: of the attempt whose result `stands`, if one does."""

    worker: str = ""
    host: str = ""
    device: str = ""
    error: str | None = None
    kind: str = ""
    code: str = ""
    stands: bool = False


@dataclass(frozen=True, slots=True)
class Selector:
    """What a person selected; `states` None: any."""

    task_ids: tuple[str, ...] = ()
    phases: tuple[Condition, ...] = ()
    states: frozenset[State] | None = None
    of_attempts: tuple[Condition, ...] = ()
    parameters: tuple[Condition, ...] = ()

    @property
    def is_of_phases_alone(self) -> bool:
        """Whether it means phases as such, with the cells that they will have."""
        rest = self.task_ids or self.of_attempts or self.parameters
        return len(self.phases) == 1 and not rest and self.states is None

    def check(self, known: Collection[str]) -> None:
        """Raises `UsageError` for a parameter that no task has."""
        roots = {each.partition(".")[0] for each in known}
        for each in self.parameters:
            if each.name not in known and each.name.partition(".")[0] not in roots:
                options = sorted({*known, "phase", "state", *OF_ATTEMPTS})
                raise UsageError(
                    f"{each.word!r}: no task has a parameter {each.name!r}"
                    f"{did_you_mean(each.name, options)}"
                )

    def fits(self, parameters: Mapping[str, Any], met: set[str]) -> bool:
        """Whether the parameters are as asked for; notes in `met` the conditions that found a
        value which they can be compared with."""
        found = [(each, lookup(parameters, each.name)) for each in self.parameters]
        met.update(each.word for each, value in found if _comparable(each, value))
        return all(holds(each, value) for each, value in found)

    def ran(self, last: Ran) -> bool:
        """Whether its last attempt is as asked for."""
        return all(_ran(each, last) for each in self.of_attempts)


def parse(words: Sequence[str], everything: bool = False) -> Selector:
    """What the words say; raises `UsageError`, naming the word."""
    for each in words:
        if each.strip().startswith("-"):
            raise UsageError(f"{each!r}: is no option, task id or condition; --help says what is")
    if everything and words:
        raise UsageError(f"{EVERYTHING} and {words[0]!r}: say one of the two")
    if not everything and not words:
        raise UsageError(
            "no task is selected: name task ids or conditions (`phase=exp1`, `state=failed`, "
            f"`width_factor=64`), or {EVERYTHING} for everything"
        )
    if len(words) > MOST_WORDS:
        raise UsageError(f"found {len(words)} words, expected at most {MOST_WORDS} at once")
    return _sorted([_condition(each) for each in words])


def _sorted(found: list[Condition]) -> Selector:
    named = [each for each in found if each.name == "state"]
    states = [_states(each) for each in named]
    rest = [each for each in found if each.name not in ("", "phase", "state", *OF_ATTEMPTS)]
    return Selector(
        task_ids=tuple(each.word for each in found if not each.name),
        phases=tuple(each for each in found if each.name == "phase"),
        states=frozenset.intersection(*states) if states else None,
        of_attempts=tuple(each for each in found if each.name in OF_ATTEMPTS),
        parameters=tuple(rest),
    )


def _condition(word: str) -> Condition:
    """One word; a task's id has no name."""
    found = _WORD.fullmatch(word.strip())
    if found is None:
        return _task_id(word.strip())
    name, operator, text = found[1], found[2].replace("==", "="), found[3].strip()
    if not text:
        raise UsageError(f"{word!r}: a value is missing after {found[2]!r}")
    if name in ("phase", "state", *OF_ATTEMPTS):
        return _of_queue(word, name, operator, text)
    readings = tuple(_readings(text))
    if operator not in ("=", "!=") and not all(_kind(each) == "number" for each in readings):
        raise UsageError(f"{word!r}: {operator} compares numbers, found {text!r}")
    return Condition(word, name, operator, readings)


def _task_id(word: str) -> Condition:
    if not word:
        raise UsageError("'': is no task id or condition; --help says what is")
    return Condition(word, "", "=", ())


def _of_queue(word: str, name: str, operator: str, text: str) -> Condition:
    allowed = ("=", "!=") if name == "state" else ("=",)
    if operator not in allowed:
        raise UsageError(f"{word!r}: {name} takes {' or '.join(allowed)}, found {operator}")
    values = (text,) if name == "error" else tuple(filter(None, map(str.strip, text.split(","))))
    return Condition(word, name, operator, values)


def _states(condition: Condition) -> frozenset[State]:
    names = [state.value.lower() for state in State]
    found: set[State] = set()
    for each in condition.values:
        fitting = {State(name.upper()) for name in names if fnmatchcase(name, each.lower())}
        if not fitting:
            raise UsageError(
                f"{condition.word!r}: no state is called {each!r}{did_you_mean(each, names)}; "
                f"the states are {', '.join(names)}"
            )
        found |= fitting
    return frozenset(State) - found if condition.operator == "!=" else frozenset(found)


# --- names and patterns -----------------------------------------------------------------


def fitting(condition: Condition, names: Iterable[str]) -> set[str]:
    """The phases that are meant; raises `UsageError` for a word that means none."""
    known = sorted(names)
    found: set[str] = set()
    for each in condition.values:
        meant = {name for name in known if fnmatchcase(name, each)}
        if not meant:
            raise UsageError(
                f"{condition.word!r}: no phase is called {each!r}{did_you_mean(each, known)}"
            )
        found |= meant
    return found


def is_worker(pattern: str, worker_id: str) -> bool:
    """Whether a worker is meant: by its whole name, or without its host (`gpu0`)."""
    return fnmatchcase(worker_id, pattern) or fnmatchcase(worker_id, f"*-{pattern}")


def _ran(condition: Condition, last: Ran) -> bool:
    if condition.name == "error":
        sought = condition.values[0].casefold()
        return last.error is not None and (sought == last.kind or sought in last.error.casefold())
    if condition.name == "code":
        return any(is_meant(each, last.code) for each in condition.values)
    if condition.name == "worker":
        return any(is_worker(each, last.worker) for each in condition.values)
    value = last.host if condition.name == "host" else last.device
    return any(fnmatchcase(value, each) for each in condition.values)


# --- values -----------------------------------------------------------------------------


def lookup(parameters: Mapping[str, Any], name: str) -> Any:
    """The value of that name, dotted where it lies in a mapping; `_ABSENT` when there is none."""
    if name in parameters:
        return parameters[name]
    for number, character in enumerate(name):
        inner = parameters.get(name[:number]) if character == "." else None
        if isinstance(inner, Mapping):
            return lookup(inner, name[number + 1 :])
    return _ABSENT


def holds(condition: Condition, value: Any) -> bool:
    """Whether a value is as asked for."""
    if not _comparable(condition, value):
        return False
    if condition.operator in ("=", "!="):
        form = canonical(value)
        equal = any(form == canonical(each) for each in condition.values)
        return equal is (condition.operator == "=")
    return any(_ordered(value, condition.operator, each) for each in condition.values)


def _ordered(value: Any, operator: str, asked: Any) -> bool:
    if operator.startswith("<"):
        return bool(value < asked or (operator == "<=" and value == asked))
    return bool(value > asked or (operator == ">=" and value == asked))


def _comparable(condition: Condition, value: Any) -> bool:
    if value is _ABSENT:
        return False
    return any(each is None or _kind(each) == _kind(value) for each in condition.values)


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else "truth"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "list"


def _readings(text: str) -> Iterable[Any]:
    """Every value that the text may mean."""
    if text[0] in '"[{':
        try:
            yield json.loads(text)
        except ValueError:
            yield text
        return
    for word in filter(None, map(str.strip, text.split(","))):
        if _NUMBER.fullmatch(word):
            whole = len(word) < _LONGEST and not re.search(r"[.eE]", word)
            yield int(word) if whole else float(word)
        elif word.lower() in _WORDS:
            yield _WORDS[word.lower()]
            if not isinstance(_WORDS[word.lower()], float):
                yield word
        else:
            yield word
