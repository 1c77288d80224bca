"""docs/CLI.md is what the code declares, and every command keeps what that page says of all."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from types import ModuleType
from typing import Any

import pytest
from acceptance import Study

from source import REPOSITORY

TEXT_ONLY = {"serve", "work", "run", "logs", "token"}
"""Commands that print no data: logs of what they do, an output as it is, a secret."""


def load() -> ModuleType:
    path = REPOSITORY / "tools" / "cli_page.py"
    spec = importlib.util.spec_from_file_location("cli_page", path)
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


PAGE = load()
COMMANDS: dict[str, Any] = PAGE.commands()


def test_the_page_is_what_the_code_declares() -> None:
    written = PAGE.PAGE.read_text(encoding="utf-8")
    assert written == PAGE.page(), "run `python tools/cli_page.py`, and look at what has changed"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_that_is_one(name: str) -> None:
    command = COMMANDS[name]
    assert command.short_help
    _, found, example = command.help.partition("Example: ")
    assert found, "its --help shows no example"
    words = example.strip().replace("$(", "").replace(")", "").split()
    assert f"sqlqueue {name}" in example
    flags = {flag for each in command.params for flag in each.opts}
    assert {each for each in words if each.startswith("--")} <= flags


@pytest.mark.parametrize("name", COMMANDS)
def test_what_prints_data_prints_it_as_json_too(name: str) -> None:
    flags = {flag for each in COMMANDS[name].params for flag in each.opts}
    assert ("--json" in flags) is (name not in TEXT_ONLY)


SAID = [
    ["init", "grid.yaml", "--dry-run"],
    ["init", "grid.yaml"],
    ["status"],
    ["verify"],
    ["verify", "--repair"],
    ["failures"],
    ["show", "grid_0_0"],
    ["priority", "3", "--all"],
    ["pause", "--all"],
    ["resume", "--all"],
    ["drain", "worker=nobody"],
    ["cancel", "seed=1", "--yes"],
    ["retry", "--all"],
    ["import", "old.csv", "--dry-run"],
    ["import", "old.csv", "--yes"],
    ["rerun", "seed=0", "--yes"],
    ["unlink", "results", "--dry-run"],
    ["doctor"],
    ["backup", "copy.db"],
    ["recover", "--dry-run"],
    ["unlink", "results", "--yes"],
]


def test_each_says_one_json_document_and_nothing_else(study: Study) -> None:
    """And all of them are said here."""
    sweep = {"combinations": {"seed": [0, 1, 2]}, "max_attempts": 1}
    study.set_up(study.write("grid.yaml", "results", "measure", **sweep))
    (study.root / "old.csv").write_text("seed,score\n0,0.5\n")
    assert {arguments[0] for arguments in SAID} == set(COMMANDS) - TEXT_ONLY
    cli = dataclasses.replace(study.cli, forks=True)
    for arguments in SAID:
        done = cli(*arguments, "--json")
        assert done.returncode in (0, 1), (arguments, done.stderr)
        found = json.loads(done.stdout)
        assert isinstance(found, dict | list), arguments
        assert "Traceback" not in done.stderr
