"""`experiment: {command: ...}` of a sweep file -> what it runs and which parameters it takes.

Promises: every key that is unknown, missing or of the wrong shape is a problem with its line.
Without `parameters`, the placeholders are the parameters, each required and of any type, and
`seed` may be given too.  What is not here: what a placeholder becomes (`command.py`).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from typing import Final

from sqlqueue.plan.blocks import Given
from sqlqueue.plan.command import RUN, Command, PlaceholderError, names
from sqlqueue.plan.declaration import Declaration
from sqlqueue.plan.problems import Problems, describe, did_you_mean
from sqlqueue.plan.task import Experiment, Parameter
from sqlqueue.plan.tree import Entries, Entry, Items, Scalar, Tree, complaints, plain

MAX_NAME: Final = 300
SEED: Final = Parameter("seed", default=None, optional=True, original=False, first_default=None)

_KEYS: Final = ("command", "name", "parameters", "environment", "directory")
_CALLED: Final = re.compile(r"[^\W\d][\w.-]*")
_FUNCTION: Final = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS: Final = "SQLQUEUE_"
_DEVICE: Final = "CUDA_VISIBLE_DEVICES"
_SHELL: Final = re.compile(r"(?:.*/)?(?:ba|da|z|k|a|fi|c|tc)?sh")
_READS: Final = re.compile(r"-[A-Za-z]*c[A-Za-z]*")
"""The option after which a shell reads what a word says."""
_LINE_END: Final = re.compile(r"\s*\n\s*")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def read(given: Given, built_in: Iterable[str], problems: Problems) -> Experiment | None:
    """The experiment that a mapping defines; None, and problems, when it defines none."""
    assert isinstance(given.tree, Entries)
    before = len(problems.found)
    definition = _Definition(given, problems)
    experiment = definition.experiment(tuple(built_in))
    return experiment if len(problems.found) == before else None


class _Definition:
    """One mapping's way through the checks.  A problem never stops the search for others."""

    def __init__(self, given: Given, problems: Problems) -> None:
        assert isinstance(given.tree, Entries)
        self.place = given.place
        self.problems = problems
        self.entries = given.tree.entries

    def experiment(self, built_in: tuple[str, ...]) -> Experiment:
        self._check_keys()
        text, words = self._words()
        command = Command(words, self._environment(), self._directory())
        name = self._name(text, built_in)
        declared = self._entry("parameters")
        parameters = self._parameters(declared.value) if declared else _undeclared(command)
        if declared and isinstance(declared.value, Entries):
            self._check_placeholders(command, [each.name for each in parameters])
        return Experiment(name, tuple(parameters), command=command)

    # --- helpers ----------------------------------------------------------------------

    def _add(self, at: Entry | Tree, problem: str, key: str | None = None) -> None:
        key = at.key if isinstance(at, Entry) else key
        self.problems.add(self.place.at(at.line, key), problem)

    def _entry(self, key: str) -> Entry | None:
        return next((each for each in self.entries if each.key == key), None)

    def _check_keys(self) -> None:
        for each in self.entries:
            if each.key not in _KEYS:
                known = ", ".join(_KEYS)
                hint = did_you_mean(each.key, _KEYS)
                self._add(each, f"unknown key of a command, expected one of {known}{hint}")

    def _text(self, entry: Entry, expected: str) -> str | None:
        """A text that is not empty; numbers are taken as they are written."""
        tree = entry.value
        for line, complaint in complaints(tree):
            self.problems.add(self.place.at(line, entry.key), complaint)
            return None
        written = tree.text if isinstance(tree, Scalar) and tree.value is not None else ""
        if not written.strip():
            self._add(entry, f"found {describe(plain(tree))}, expected {expected}")
            return None
        return written

    def _mapping(self, tree: Tree, key: str, expected: str) -> list[Entry]:
        if isinstance(tree, Entries):
            return tree.entries
        if not isinstance(tree, Scalar) or tree.value is not None:
            self._add(tree, f"found {describe(plain(tree))}, expected {expected}", key)
        return []

    def _braces(self, at: Entry | Tree, text: str, key: str | None = None) -> bool:
        try:
            names(text)
        except PlaceholderError as error:
            self._add(at, str(error), key)
            return False
        return True

    # --- the command --------------------------------------------------------------------

    def _words(self) -> tuple[str, tuple[str, ...]]:
        """How the command is written, and its words."""
        entry = self._entry("command")
        if entry is None:
            expected = "expected `command: ...`, a program with its arguments"
            if all(each.key in _KEYS for each in self.entries):
                self.problems.add(self.place, f"found a mapping without a command, {expected}")
            return "", ()
        if isinstance(entry.value, Items):
            words = self._listed(entry, entry.value)
            text = shlex.join(words)
        else:
            text = self._text(entry, "a program with its arguments, or a list of words") or ""
            words = self._split(entry, text)
        sound = [self._braces(entry, each) for each in words]
        if not all(sound):
            return text, ()
        self._check_program(entry, words)
        return text, tuple(words)

    def _listed(self, entry: Entry, items: Items) -> list[str]:
        if not items.items:
            self._add(entry, "found an empty list, expected a program with its arguments")
        words = []
        for each in items.items:
            if isinstance(each, Scalar) and each.value is not None and not each.complaint:
                words.append(each.text)
            else:
                found = each.complaint if isinstance(each, Scalar) and each.complaint else None
                found = found or f"found {describe(plain(each))}, expected a word as text"
                self._add(each, found, entry.key)
        return words

    def _split(self, entry: Entry, text: str) -> list[str]:
        try:
            return shlex.split(text)
        except ValueError as error:
            cure = "quote as in a shell, or write a list of words"
            self._add(entry, f"cannot be split into words: {str(error).lower()}; {cure}")
            return []

    def _check_program(self, entry: Entry, words: list[str]) -> None:
        if words and not words[0]:
            self._add(entry, "found an empty word in place of the program")
        if any("\0" in each for each in words):
            self._add(entry, "found a NUL character, which no program can be given")
        shells = [number for number, each in enumerate(words) if _SHELL.fullmatch(each)]
        if shells:
            self._check_shell(entry, words[shells[0] + 1 :])

    def _check_shell(self, entry: Entry, words: list[str]) -> None:
        """What a shell is to read must not be made of values: they could say anything."""
        at = next((number for number, each in enumerate(words) if _READS.fullmatch(each)), None)
        rest = words[at + 1 :] if at is not None else []
        script = [each for each in rest if not re.fullmatch("[-+].*", each)][:1]
        if script and names(script[0]):
            name = names(script[0])[0]
            self._add(
                entry,
                f"found {{{name}}} in what the shell is to read, where its value would be read "
                f"as code; hand it over: sh -c '... \"$1\"' sh {{{name}}}",
            )

    def _environment(self) -> dict[str, str]:
        entry, found = self._entry("environment"), {}
        expected = "a mapping of variables to texts"
        for each in self._mapping(entry.value, "environment", expected) if entry else []:
            if not _VARIABLE.fullmatch(each.key):
                self._add(each, "expected the name of a variable: letters, digits and _")
            elif each.key.startswith(_OURS):
                self._add(each, f"the variables {_OURS}... are sqlqueue's own; choose another name")
            elif each.key == _DEVICE:
                self._add(each, "the device is the worker's to say; see `sqlqueue work --gpu`")
            elif (text := self._value(each)) is not None and self._braces(each, text):
                found[each.key] = text
        return found

    def _value(self, entry: Entry) -> str | None:
        tree = entry.value
        if isinstance(tree, Scalar) and tree.value is not None and not tree.complaint:
            if "\0" not in tree.text:
                return tree.text
            self._add(entry, "found a NUL character, which no variable can hold")
            return None
        unclear = tree.complaint if isinstance(tree, Scalar) else ""
        self._add(entry, unclear or f"found {describe(plain(tree))}, expected a text")
        return None

    def _directory(self) -> str:
        entry = self._entry("directory")
        text = self._text(entry, "a folder in the root") if entry else ""
        if entry is None or not text:
            return ""
        if text.startswith(("/", "~")) or ".." in text.split("/") or _CONTROL.search(text):
            self._add(entry, f"found {describe(text)}, expected a folder in the root, without ..")
        elif "{" in text or "}" in text:
            self._add(entry, "a folder with placeholders is not supported; use {run.directory}")
        return text

    # --- its name -----------------------------------------------------------------------

    def _name(self, text: str, built_in: tuple[str, ...]) -> str:
        entry = self._entry("name")
        if entry is None:
            name, at = _LINE_END.sub(" ", text.strip()), self._entry("command")
            cure = "; give it a `name`"
        else:
            name, at, cure = (self._text(entry, "a name") or "").strip(), entry, ""
        if at is not None and name and (problem := _unfit(name, built_in)):
            self._add(at, problem + cure)
        return name

    # --- its parameters -------------------------------------------------------------------

    def _parameters(self, tree: Tree) -> list[Parameter]:
        expected = "a mapping of parameters to types"
        found = []
        for each in self._mapping(tree, "parameters", expected):
            if not _CALLED.fullmatch(each.key) or each.key.startswith(RUN):
                self._add(each, "expected the name of a parameter: letters, digits and _")
            else:
                found.append(Declaration(self.place, self.problems, each).parameter())
        return found

    def _check_placeholders(self, command: Command, declared: list[str]) -> None:
        entry = self._entry("command")
        for name in command.placeholders():
            if name not in declared and not name.startswith(RUN) and entry is not None:
                hint = did_you_mean(name, declared)
                self._add(entry, f"found {{{name}}}, which `parameters` does not list{hint}")


def _undeclared(command: Command) -> list[Parameter]:
    """Each placeholder, required and of any type; `seed` besides."""
    found = [Parameter(each) for each in command.placeholders() if not each.startswith(RUN)]
    return found if "seed" in (each.name for each in found) else [*found, SEED]


def _unfit(name: str, built_in: tuple[str, ...]) -> str:
    """Why an experiment cannot be called so; nothing when it can."""
    if name in built_in:
        return f"the name {name!r} is a built-in's; call the command something else"
    if _FUNCTION.fullmatch(name):
        return f"the name {name!r} looks like a function's; call the command something else"
    if len(name) > MAX_NAME or _CONTROL.search(name):
        return f"a name has at most {MAX_NAME} characters, on one line"
    return ""
