"""docs/PROTOCOL.md says all that protocol.py declares, and its examples are messages."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from sqlqueue import errors, protocol
from support import Cli, ManagerProcess

PAGE = (Path(__file__).parent.parent / "docs" / "PROTOCOL.md").read_text()
SAID, ANSWERED = PAGE.split("## What the manager answers")
REQUESTS = get_args(protocol.Request)
REPLIES = get_args(protocol.Reply)
NESTED = (
    protocol.Held,
    protocol.NewTask,
    protocol.ExperimentMemory,
    protocol.ParameterMemory,
    protocol.PhaseCounts,
    protocol.DescribedTask,
    protocol.ImportedRow,
    protocol.RefusedRow,
    protocol.PhaseStands,
)
LIMITS = [name for name, value in vars(protocol).items() if type(value) in (int, float)]
MESSAGES = [(kind, SAID) for kind in REQUESTS] + [(kind, ANSWERED) for kind in REPLIES]
each_message = pytest.mark.parametrize(
    ("kind", "page"), MESSAGES, ids=[kind.__name__ for kind, _ in MESSAGES]
)


def section(kind: type, page: str) -> str:
    """The part of the page under the heading of a message."""
    tag = kind.__struct_config__.tag  # type: ignore[attr-defined]
    found = re.search(rf"^### `{tag}`.*?$(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"no heading for {tag}"
    return found[1]


def rows(text: str) -> Iterator[tuple[str, str]]:
    """Field and default of each row of the tables."""
    for line in text.splitlines():
        if found := re.match(r"\| `(\w+)` \| (.*?) ?\| ", line):
            yield found[1], found[2].strip("` ")


def examples(text: str) -> list[str]:
    """The JSON examples, one per line."""
    blocks = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def shown(field: msgspec.structs.FieldInfo) -> str:
    """A field's default as the page writes it."""
    if field.default is msgspec.UNSET:
        return "absent"
    if field.default_factory is not msgspec.NODEFAULT:
        return json.dumps(field.default_factory())
    return "" if field.required else json.dumps(field.default)


@each_message
def test_every_field_stands_in_the_table_of_its_message(kind: type, page: str) -> None:
    stated = dict(rows(section(kind, page)))
    fields = {each.encode_name: shown(each) for each in msgspec.structs.fields(kind)}
    assert fields.items() <= stated.items()


@pytest.mark.parametrize("kind", NESTED, ids=lambda kind: kind.__name__)
def test_every_nested_field_is_named(kind: type) -> None:
    named = {each.encode_name for each in msgspec.structs.fields(kind)}
    assert named <= set(re.findall(r"`(\w+)`", PAGE))


@each_message
def test_every_message_has_examples_that_decode_to_it(kind: type, page: str) -> None:
    decode = protocol.decode_request if kind in REQUESTS else protocol.decode_reply
    found = examples(section(kind, page))
    assert found
    for text in found:
        assert isinstance(decode(text.encode()), kind)
        assert_known(json.loads(text), kind)


def assert_known(example: dict[str, Any], kind: type) -> None:
    """No example bears a field that the message does not have."""
    fields = {each.encode_name for each in msgspec.structs.fields(kind)}
    assert set(example) <= fields | {"type"}


def shape(value: Any) -> Any:
    """The keys at every depth, and of a list what its elements are."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    return [shape(each) for each in value[:1]] if isinstance(value, list) else None


@pytest.mark.usefixtures("small_queue")
def test_the_example_of_a_status_has_the_keys_that_a_manager_sends(
    manager: ManagerProcess,
) -> None:
    """One task failed, one has told how far it is."""
    who = {"worker_id": "gpu0", "worker_type": "gpu"}
    first, second = (manager.ask({"type": "request_task", **who})["task_id"] for _ in range(2))
    for _ in range(3):
        manager.ask({"type": "task_failed", "task_id": first, "error": "boom", **who})
        manager.ask({"type": "request_task", "want": first, **who})
    held = {"task_id": second, "attempt": 1, "step": 3, "total": 10, "metrics": {"loss": 0.4}}
    manager.ask({"type": "heartbeat", "worker_id": "gpu0", "tasks": [held]})
    sent = manager.ask({"type": "status"})["status"]
    (text,) = examples(section(protocol.StatusReply, ANSWERED))
    example = json.loads(text)["status"]
    assert sent["failures"] and sent["workers"][0]["tasks"], sent
    example["set_aside"] = sent["set_aside"] = []
    assert shape(example) == shape(sent)


def error_classes(kind: type[errors.QueueError]) -> Iterator[type[errors.QueueError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from error_classes(each)


def test_every_error_code_is_listed_with_its_retryability() -> None:
    listed = dict(rows(PAGE.split("## Error codes")[1]))
    declared = {each.code: "yes" if each.retryable else "no"
                for each in error_classes(errors.QueueError)
                if each.__module__ == errors.__name__}  # fmt: skip
    assert listed == declared


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_is_named(name: str) -> None:
    assert f"`{name}`" in PAGE


def test_the_roles_are_those_of_the_code() -> None:
    worker_row = next(line for line in PAGE.splitlines() if line.startswith("| worker |"))
    allowed = set(re.findall(r"`(\w+)`", worker_row))
    tags = {kind.__struct_config__.tag for kind in REQUESTS if kind not in protocol.OWNER_ONLY}
    assert allowed == tags - {"hello"}


def client_example() -> str:
    """The program on the page."""
    found = re.search(r"## A client in twenty lines.*?```python\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def test_the_client_on_the_page_has_twenty_lines_and_runs_every_task(
    small_queue: Cli, manager: ManagerProcess
) -> None:
    program = client_example()
    assert len(program.splitlines()) <= 20
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=small_queue.root, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + manager.said
    with (small_queue.root / "results" / "final_results.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["seed"], row["mean_test_loss"]) for row in rows] == [("1", "nan"), ("2", "nan")]
