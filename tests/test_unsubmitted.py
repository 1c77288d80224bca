"""The files of results that no manager acked yet: what is read, refused, and removed."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from sqlqueue import unsubmitted
from sqlqueue.errors import ProtocolError
from sqlqueue.protocol import SubmitResult

SIGNATURE = "0123456789abcdef0123456789abcdef"


def result(**changes: object) -> SubmitResult:
    fields: dict[str, object] = {
        "task_id": "exp_0_42",
        "worker_id": "host-gpu0",
        "attempt": 2,
        "signature": SIGNATURE,
        "result_data": {"acc": 0.1 + 0.2, "loss": math.nan, "top": math.inf, "text": "ä\ud800"},
        "seconds": 1.5,
    }
    return SubmitResult(**{**fields, **changes})  # type: ignore[arg-type]


def test_written_and_read_back_exactly(tmp_path: Path) -> None:
    path = unsubmitted.write(tmp_path / "deep" / "unsubmitted", result(), "q1")
    assert path.name == "exp_0_42-2.json"
    [(found, back)] = unsubmitted.scan(path.parent, "q1")
    assert found == path
    assert back.result_data["acc"] == 0.1 + 0.2
    assert math.isnan(back.result_data["loss"])
    assert back.result_data["top"] == math.inf
    assert (back.task_id, back.attempt, back.signature) == ("exp_0_42", 2, SIGNATURE)
    assert json.loads(path.read_bytes())["format"] == 1


def test_results_of_another_queue_are_passed_over(tmp_path: Path) -> None:
    unsubmitted.write(tmp_path, result(), "q1")
    assert list(unsubmitted.scan(tmp_path, "q2")) == []
    assert len(list(unsubmitted.scan(tmp_path))) == 1


def test_no_folder_is_an_empty_folder(tmp_path: Path) -> None:
    assert list(unsubmitted.scan(tmp_path / "none")) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not one JSON object"),
        (b"\xff\xfe", "not one JSON object"),
        (b"[1]", "not one JSON object"),
        (b"[" * 100_000, "not one JSON object"),
        (b'{"format": 2}', "format 2"),
        (b"{}", "format None"),
        (b'{"format": 1, "queue": "q"}', "task_id"),
        (b'{"format": 1, "task_id": "a", "worker_id": "w", "result_data": 7}', "result_data"),
        (b'{"format": 1, "task_id": 7, "worker_id": "w", "result_data": {}}', "task_id"),
        (b" " * (unsubmitted.MAX_FILE_BYTES + 1), "bytes"),
    ],
)
def test_what_is_no_result_is_refused_and_left(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x-1.json"
    path.write_bytes(content)
    heard: list[tuple[Path, str]] = []
    assert list(unsubmitted.scan(tmp_path, None, lambda *each: heard.append(each))) == []
    assert heard[0][0] == path
    assert said in heard[0][1]
    assert path.exists()


def test_links_pipes_and_folders_are_not_read(tmp_path: Path) -> None:
    real = unsubmitted.write(tmp_path / "elsewhere", result(), "q")
    folder = tmp_path / "unsubmitted"
    folder.mkdir()
    (folder / "link-1.json").symlink_to(real)
    os.mkfifo(folder / "pipe-1.json")
    (folder / "folder-1.json").mkdir()
    heard: list[Path] = []
    assert list(unsubmitted.scan(folder, None, lambda path, _: heard.append(path))) == []
    assert len(heard) == 3
    (tmp_path / "linked").symlink_to(real.parent)
    assert list(unsubmitted.scan(tmp_path / "linked")) == []


def test_a_file_of_another_user_is_not_read(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        return  # only root can give a file away
    path = unsubmitted.write(tmp_path, result(), "q")
    os.chown(path, 12345, -1)
    assert list(unsubmitted.scan(tmp_path)) == []


def test_half_written_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".exp_0_42-2.json.77.tmp").write_bytes(b'{"format": 1')
    heard: list[Path] = []
    assert list(unsubmitted.scan(tmp_path, None, lambda path, _: heard.append(path))) == []
    assert heard == []


def test_removed_only_while_it_holds_the_same_result(tmp_path: Path) -> None:
    path = unsubmitted.write(tmp_path, result(), "q")
    assert not unsubmitted.remove(path, result(seconds=9.0))
    assert path.exists()
    [(_, back)] = unsubmitted.scan(tmp_path)
    assert unsubmitted.remove(path, back)
    assert not path.exists()
    assert not unsubmitted.remove(path, back)
    assert unsubmitted.remove(unsubmitted.write(tmp_path, result(), "q"), result())


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a\0b", "a\\b", "a\nb", "x" * 300])
def test_names_that_would_leave_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ProtocolError):
        unsubmitted.safe_name(name)
    if name:
        with pytest.raises(ProtocolError):
            unsubmitted.write(tmp_path, result(task_id=name), "q")
    assert list(tmp_path.iterdir()) == []
