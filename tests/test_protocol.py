"""The wire: what was said yesterday is understood for ever, and nothing else is let in."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlqueue import protocol
from sqlqueue.errors import MessageTooLarge, ProtocolError, QueueError, from_wire

GOLDEN = Path(__file__).parent / "golden" / "messages.jsonl"
"""Lines that clients have sent.  Lines are added to it and never edited or removed."""

LINES = GOLDEN.read_text().splitlines()
REPLIES = [
    protocol.Welcome(role="worker"),
    protocol.NoTask(done=False),
    protocol.Ack(),
    protocol.Ack(cancel=["t"]),
    protocol.StatusReply(status={"x": math.inf}),
    protocol.PreparedReply(set_aside=[]),
    protocol.AddedReply(phases={"p": protocol.PhaseCounts(cells=2)}, delivered=1),
    protocol.DescribedReply(
        tasks=[
            protocol.DescribedTask(
                signature="0" * 32,
                task_id="t",
                phase="p",
                experiment="e",
                parameters={"x": math.nan},
                runtime_only=[],
                completed=False,
            )
        ],
        next=2,
    ),
    protocol.ImportedReply(
        adopted=[0],
        refused=[protocol.RefusedRow(row=1, reason="other_result", message="m")],
        delivered=2,
    ),
    protocol.UnlinkedReply(output_dir="a", moved_to="b"),
    protocol.FilesReply(
        phases={"p": protocol.PhaseStands(given=True, elsewhere=["b.yaml"], wanted=3)}
    ),
    protocol.PrunedReply(phases={"p": {"PENDING": 2}}, shared=1, next=2000),
    protocol.RepairedReply(actions=["none"]),
    protocol.AuditedReply(findings=[protocol.Finding(severity="error", where="a", message="b")]),
    protocol.ExperimentsReply(experiments=[]),
    protocol.Error(code="c", message="m"),
]
SUBMIT = '{"type":"submit_result","task_id":"t","worker_id":"w","result_data":%s}'


def same(one: Any, other: Any) -> bool:
    """Equality under which a NaN equals itself."""
    return repr(one) == repr(other)


@pytest.mark.parametrize("line", LINES)
def test_what_was_said_yesterday_is_understood(line: str) -> None:
    request = protocol.decode_request(line.encode())
    said = json.loads(line)
    for name, value in said.items():
        found = getattr(request, name, None)
        if isinstance(value, str | int | float) and name != "type":
            assert found == value
    assert request.__struct_config__.tag == said["type"]


def test_every_request_is_among_yesterday_s() -> None:
    kinds = {type(protocol.decode_request(line.encode())) for line in LINES}
    assert kinds == set(get_args(protocol.Request))


@pytest.mark.parametrize("line", LINES)
def test_what_is_encoded_is_one_line_that_decodes_to_the_same(line: str) -> None:
    request = protocol.decode_request(line.encode())
    data = protocol.encode(request)
    assert data.endswith(b"\n")
    assert data.count(b"\n") == 1
    assert same(protocol.decode_request(data), request)


@pytest.mark.parametrize("reply", REPLIES, ids=lambda each: type(each).__name__)
def test_replies_decode_to_the_same(reply: protocol.Reply) -> None:
    assert same(protocol.decode_reply(protocol.encode(reply)), reply)


def test_a_plain_ack_is_exactly_that() -> None:
    assert protocol.encode(protocol.Ack()) == b'{"type":"ack"}\n'


def test_a_task_has_all_its_fields_even_when_they_are_empty() -> None:
    reply = protocol.TaskReply(
        task_id="t", attempt=0, phase="p", experiment="e", config={"x": math.nan}, seed=None,
        output_dir="d", output_dirs=["d"], lease_seconds=60.0, signature="s", timeout_seconds=None,
    )  # fmt: skip
    found = json.loads(protocol.encode(reply))
    promised = {
        "type", "task_id", "attempt", "phase", "experiment", "config", "seed", "output_dir",
        "output_dirs", "lease_seconds",
    }  # fmt: skip
    assert found.keys() >= promised
    assert math.isnan(found["config"]["x"])


METRICS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), METRICS))
def test_any_metrics_arrive_as_they_were_sent(metrics: dict[str, Any]) -> None:
    sent = protocol.SubmitResult(task_id="t", worker_id="w", result_data=metrics)
    request = protocol.decode_request(protocol.encode(sent))
    assert isinstance(request, protocol.SubmitResult)
    assert same(request.result_data, metrics)


@given(st.floats())
def test_floats_arrive_bit_for_bit_from_python_s_json(value: float) -> None:
    request = protocol.decode_request((SUBMIT % json.dumps({"x": value})).encode())
    assert isinstance(request, protocol.SubmitResult)
    assert same(request.result_data["x"], value)


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_raise_a_protocol_error(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        protocol.decode_request(data)


@given(METRICS)
def test_no_json_does_more_than_raise_a_protocol_error(value: Any) -> None:
    for text in (json.dumps(value), json.dumps({"type": "heartbeat", "worker_id": value})):
        with contextlib.suppress(ProtocolError):
            protocol.decode_request(text.encode())


def test_an_integer_of_any_length_is_kept() -> None:
    digits = "7" * 5000
    request = protocol.decode_request((SUBMIT % f'{{"n":{digits},"m":12}}').encode())
    assert isinstance(request, protocol.SubmitResult)
    assert request.result_data == {"n": digits, "m": 12}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"type":"request_task","worker_id":""}', "worker_id"),
        ('{"type":"request_task","worker_id":"%s"}' % ("w" * 301), "worker_id"),
        ('{"type":"request_task","worker_id":"w","count":0}', "count"),
        ('{"type":"request_task","worker_id":"w","count":1001}', "count"),
        ('{"type":"request_task","worker_id":"w","wait":-1}', "wait"),
        ('{"type":"request_task","worker_id":"w","wait":61}', "wait"),
        ('{"type":"request_task","worker_id":"w","wait":NaN}', "wait"),
        ('{"type":"request_task","worker_id":"w","worker_type":"tpu"}', "worker_type"),
        ('{"type":"request_task","worker_id":"w","lease_seconds":0.5}', "lease_seconds"),
        ('{"type":"request_task","worker_id":"w","lease_seconds":86401}', "lease_seconds"),
        ('{"type":"submit_result","task_id":"t","worker_id":"w"}', "result_data"),
        (SUBMIT % "[]", "result_data"),
        (SUBMIT[:-1] % "{}" + ',"attempt":-1}', "attempt"),
        (SUBMIT[:-1] % "{}" + ',"signature":"xyz"}', "signature"),
        ('{"type":"task_failed","task_id":"t","worker_id":"w"}', "error"),
        (
            '{"type":"task_failed","task_id":"t","worker_id":"w","error":"","outcome":"LOST"}',
            "LOST",
        ),
        ('{"type":"heartbeat","worker_id":"w","tasks":[7]}', "tasks"),
        ('{"type":"hello"}', "token"),
        ('{"type":"task","task_id":"t"}', "task"),
        ('{"type":"add_tasks","tasks":[{"phase":"a b"}]}', "tasks"),
        ('{"worker_id":"w"}', "type"),
        ('"status"', "object"),
        ("\ufeff{}", "JSON"),
    ],
)
def test_what_is_wrong_is_said(line: str, says: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        protocol.decode_request(line.encode())
    assert says in caught.value.message


def test_lone_surrogates_become_their_escapes() -> None:
    request = protocol.decode_request((SUBMIT % r'{"x\ud800":"\udfff"}').encode())
    assert isinstance(request, protocol.SubmitResult)
    assert request.result_data == {"x\\ud800": "\\udfff"}
    protocol.encode(request)


def test_a_message_that_is_too_long_is_not_parsed() -> None:
    with pytest.raises(MessageTooLarge):
        protocol.decode_request(b" " * (protocol.MAX_MESSAGE_BYTES + 1))


def test_nesting_without_end_is_refused_everywhere() -> None:
    for opening in ('{"a":', "["):
        with pytest.raises(ProtocolError, match=r"nested|object"):
            protocol.decode_request((SUBMIT % (opening * 200_000)).encode())


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("{}", True),
        ('{"a":1}', True),
        ("{", False),
        ('{"a":"}', False),
        ("{}{}", False),
        ("", False),
    ],
)
def test_whole_objects(text: str, whole: bool) -> None:
    assert protocol.is_complete(text.encode()) is whole
    assert protocol.is_complete(bytearray(text.encode())) is whole


def every_error() -> list[type[QueueError]]:
    found, waiting = [], [QueueError]
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting += [each for each in kind.__subclasses__() if "code" in each.__dict__]
    return found


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.code)
def test_an_error_is_the_same_after_the_wire(kind: type[QueueError]) -> None:
    reply = protocol.decode_reply(protocol.encode(protocol.error_reply(kind("why"))))
    assert isinstance(reply, protocol.Error)
    found = from_wire(reply.code, reply.message, reply.retryable)
    assert type(found) is kind
    assert (found.message, found.retryable) == ("why", kind.retryable)


def test_messages_are_frozen() -> None:
    with pytest.raises(AttributeError):
        protocol.Ack().cancel = []  # type: ignore[misc]
    assert msgspec.structs.fields(protocol.SubmitResult)[0].name == "task_id"
