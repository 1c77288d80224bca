"""What exists is explained: commands, flags, parameters, keys; and nothing leaks into the text."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from source import REPOSITORY
from sqlqueue.cli import app
from sqlqueue.experiments import declare
from sqlqueue.plan.task import STEERING

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
MANUAL = README + "".join(
    path.read_text(encoding="utf-8") for path in sorted((REPOSITORY / "docs").rglob("*.md"))
)


def named(text: str) -> set[str]:
    """Every word that a text sets as code, in backticks or in a block."""
    code = re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL)
    return {word for each in code for word in re.findall(r"[\w.-]+", each)}


def commands() -> Iterator[tuple[str, Any]]:
    """Every command as typer made it, with its name; the group itself has none."""
    group: Any = typer.main.get_command(app)
    yield "", group
    yield from group.commands.items()


def options(command: Any) -> list[Any]:
    """The flags of a command, hidden ones left out."""
    return [each for each in command.params if each.param_type_name == "option" and not each.hidden]


COMMANDS = [(name, each) for name, each in commands() if not each.hidden]
each_command = pytest.mark.parametrize(
    ("name", "command"), COMMANDS, ids=[name or "sqlqueue" for name, _ in COMMANDS]
)


@each_command
def test_every_command_and_flag_has_help(name: str, command: Any) -> None:
    assert command.help or command.short_help
    silent = [each.name for each in options(command) if not each.help]
    assert silent == [], f"sqlqueue {name}"


@each_command
def test_every_command_has_a_section_with_its_flags(name: str, command: Any) -> None:
    text = (REPOSITORY / "docs" / "COMMANDS.md").read_text(encoding="utf-8")
    shared, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    own = [each for each in sections if each.startswith(f"`sqlqueue {name}")] if name else [shared]
    assert len(own) == 1
    flags = {flag for each in options(command) for flag in each.opts}
    assert flags - named(own[0] + shared) == set()


def test_every_steering_key_is_in_the_manual() -> None:
    keys = STEERING | {"defaults", "seeds", "combinations", "exclude", "include", "zip"}
    keys |= {"when", "if", "then", "extends", "range", "linspace", "logspace"}
    assert keys - named(MANUAL) == set()


def test_every_parameter_of_the_built_in_is_in_the_manual() -> None:
    parameters = {each.name for each in declare("poisoning", REPOSITORY).parameters}
    assert parameters - named(MANUAL) == set()


def tracked() -> list[Path]:
    """The text files of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    paths = [REPOSITORY / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.suffix in TEXT or path.parent.name == ".ci"]


TEXT = {".py", ".md", ".toml", ".txt", ".yaml", ".sh", ".mako", ".cfg", ".ini", ""}
HERE = "|".join(re.escape(f"{each}/") for each in (REPOSITORY, Path.home()))
LEAKS = {
    "the address of a package index": r"index-ur[l]|pythonhoste[d]|pypi\.|npmj[s]|find-link[s]",
    "a folder of one machine": HERE,
}


@pytest.mark.parametrize("what", LEAKS)
def test_no_text_names_what_only_one_machine_has(what: str) -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{number}"
        for path in tracked()
        if path.is_file() and path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(LEAKS[what], line)
    ]
    assert found == [], what


LINK = re.compile(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)")


def test_links_between_the_documents_lead_somewhere() -> None:
    broken = [
        f"{path.relative_to(REPOSITORY)}: {target}"
        for path in tracked()
        if path.suffix == ".md"
        for target in LINK.findall(path.read_text(encoding="utf-8"))
        if not (path.parent / target).exists()
    ]
    assert broken == []


def test_every_decision_is_listed() -> None:
    listed = (REPOSITORY / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    decisions = sorted((REPOSITORY / "docs" / "decisions").glob("*.md"))
    assert decisions
    assert [each.name for each in decisions if f"decisions/{each.name}" not in listed] == []
