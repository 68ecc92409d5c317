"""What one agent does with operations of all kinds, on real servers."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from fleet import Clock, Fleet, one, states

from omx_tasks.graph.model import Operation

VALUES = [3, 2.5, True, None, "text", [1, [2]], {"a": {"b": None}}, "", "ünïcode ${not a reference"]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_whole_reference_keeps_the_type_of_its_value(shared: Fleet, value: Any) -> None:
    literal = value.replace("${", "$${") if isinstance(value, str) else value
    view = shared.run(
        shared.call("a", arguments={"value": literal}),
        shared.call("b", arguments={"value": "${a.structured.value}"}),
    )
    assert one(view, "b").structured == {"key": "b", "value": value}


def test_references_inside_a_text_are_written_as_text(shared: Fleet) -> None:
    view = shared.run(
        shared.call("a", arguments={"value": [1, "x"]}),
        shared.call("b", arguments={"value": "<${a.structured.value}> <${a.structured.key}>"}),
    )
    assert one(view, "b").structured["value"] == '<[1, "x"]> <a>'


def test_tools_resources_prompts_foreach_and_joins_work_together(shared: Fleet) -> None:
    view = shared.run(
        Operation(id="list", server="notes", tool="list_notes"),
        Operation(id="guide", server="notes", resource="notes://guide"),
        Operation(id="now", server="time", tool="get_current_time", arguments={"timezone": "UTC"}),
        Operation(
            id="each",
            server="notes",
            tool="read_note",
            foreach="${list.structured.notes}",
            arguments={"name": "${item.name}"},
        ),
        Operation(
            id="brief",
            server="notes",
            tool="write_brief",
            arguments={"text": "${now.text} ${each[*].text}", "count": "${length(each)}"},
            needs=["guide"],
        ),
    )
    assert view.state == "succeeded", view
    each = view.operations["each"]
    assert isinstance(each, list)
    assert len(each) == 8
    assert one(view, "guide").text.startswith("# How to write a brief")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [1, 10_000])
def test_a_foreach_over_any_number_of_items_runs_each_once(shared: Fleet, count: int) -> None:
    prefix = uuid.uuid4().hex
    items = [f"{prefix}-{number}" for number in range(count)]
    view = shared.run(
        shared.call("list", arguments={"value": items}),
        shared.call("each", foreach="${list.structured.value}", arguments={"key": "${item}"}),
        shared.call("end", arguments={"value": "${length(each)}"}),
        seconds=250,
    )
    assert one(view, "end").structured["value"] == count
    counted = shared.executions()
    assert [counted[f"read {item}"] for item in items] == [1] * count


@pytest.mark.parametrize("value", [None, 3, "text", {"a": 1}], ids=repr)
def test_a_foreach_over_no_list_fails(shared: Fleet, value: Any) -> None:
    view = shared.run(
        shared.call("a", arguments={"value": value}),
        shared.call("each", foreach="${a.structured.value}"),
        shared.call("end", needs=["each"]),
    )
    assert states(view) == {"a": "succeeded", "each": "failed", "end": "skipped"}
    assert one(view, "each").error["kind"] == "foreach"


def test_a_foreach_over_an_empty_list_goes_on(shared: Fleet) -> None:
    view = shared.run(
        shared.call("a", arguments={"value": []}),
        shared.call("each", foreach="${a.structured.value}"),
        shared.call("end", arguments={"value": "${length(each)}"}),
    )
    assert one(view, "end").structured["value"] == 0


@pytest.mark.parametrize(
    ("tool", "kind", "words"),
    [
        ("fail", "tool", "is broken"),
        ("refuse", "protocol", "is refused"),
        ("no_such_tool", "protocol", "has no tool 'no_such_tool'"),
    ],
)
def test_a_refused_call_fails_its_operation_with_the_servers_words(
    shared: Fleet, tool: str, kind: str, words: str
) -> None:
    view = shared.run(shared.call("a", tool))
    assert (view.state, one(view, "a").state, one(view, "a").attempts) == ("failed", "failed", 1)
    assert one(view, "a").error["kind"] == kind
    assert words in one(view, "a").error["message"]


def test_a_reference_that_cannot_be_resolved_fails_its_operation_before_any_call(
    shared: Fleet,
) -> None:
    key = uuid.uuid4().hex
    view = shared.run(
        shared.call("a"),
        shared.call("b", arguments={"key": key, "value": "${length(a.structured.value)}"}),
    )
    assert one(view, "b").error["kind"] == "reference"
    assert shared.executions()[f"read {key}"] == 0


def test_a_request_for_sampling_fails_the_operation_at_once_and_says_why(shared: Fleet) -> None:
    view = shared.run(shared.call("a", "sample", timeout=300))
    assert one(view, "a").error["kind"] == "client_request"
    assert "sampling/createMessage" in one(view, "a").error["message"]


# --- answers that are lost --------------------------------------------------------------------------


def test_a_reading_tool_that_was_too_late_is_called_again(shared: Fleet) -> None:
    key = uuid.uuid4().hex
    view = shared.run(shared.call("a", timeout=1.5, arguments={"key": key, "once": True}))
    assert (one(view, "a").state, one(view, "a").attempts) == ("succeeded", 2)
    assert shared.executions()[f"read {key}"] == 2


def test_a_reading_tool_that_is_always_too_late_fails_after_its_retries(
    shared: Fleet, until: Callable[..., None]
) -> None:
    key = uuid.uuid4().hex
    call = shared.call("a", timeout=0.1, retries=1, arguments={"key": key, "seconds": 30})
    view = shared.run(call)
    assert (one(view, "a").state, one(view, "a").attempts) == ("failed", 2)
    assert one(view, "a").error["kind"] == "timeout"
    until(lambda: shared.executions()[f"read {key}"] == 2)  # the server may be late to read them


def test_a_writing_tool_that_was_too_late_is_unknown_and_not_called_again(
    shared: Fleet, until: Callable[..., None]
) -> None:
    key = uuid.uuid4().hex
    view = shared.run(
        shared.call("a", "write", timeout=0.3, arguments={"key": key, "once": True}),
        shared.call("b", needs=["a"]),
    )
    assert states(view) == {"a": "unknown", "b": "skipped"}
    assert view.state == "failed"
    until(lambda: shared.executions()[f"write {key}"] == 1)


def test_when_a_server_dies_in_a_batch_reads_are_done_again_and_the_write_is_unknown(
    shared: Fleet, until: Callable[..., None]
) -> None:
    key, gate, death = uuid.uuid4().hex, shared.gate(), shared.gate("death")
    slow = {"gate": str(gate)}
    run = shared.submit(
        *(shared.call(f"r{n}", arguments={"key": f"{key}{n}", **slow}) for n in range(10)),
        *(shared.call(f"w{n}", "write", arguments={"key": f"{key}{n}", **slow}) for n in range(5)),
        shared.call("die", arguments={"key": key, "gate": str(death)}, tool="die"),
        shared.call("after", "write", arguments={"key": f"{key}-after"}, needs=["r0"]),
    )
    # All that read, the one that dies, and the first write, since they take turns.
    until(lambda: sum(n for call, n in shared.executions().items() if key in call) == 12)
    death.touch()
    until(lambda: shared.executions()[f"read {key}0"] == 2)
    gate.touch()
    view = run.wait(60)
    seen = states(view)
    assert [seen[f"r{n}"] for n in range(10)] == ["succeeded"] * 10
    assert sorted(seen[f"w{n}"] for n in range(5)) == ["succeeded"] * 4 + ["unknown"]
    assert seen["after"] == "succeeded"
    counted = shared.executions()
    assert [counted[f"write {key}{n}"] for n in range(5)] == [1] * 5


def test_who_waits_for_a_session_to_open_has_the_seconds_told(fleet: Fleet) -> None:
    fleet.start()
    view = fleet.run(
        fleet.call("warm"),
        fleet.call("die", tool="die", needs=["warm"]),
        fleet.call("after", needs=["die"]),
    )
    assert states(view) == dict.fromkeys(("warm", "die", "after"), "succeeded")
    # The call that ended its server was made again, on the session that was opened for it.
    assert one(view, "die").cold > 0
    assert (one(view, "warm").cold, one(view, "after").cold) == (0, 0)


# --- many -------------------------------------------------------------------------------------------


def test_three_layers_of_a_hundred_run_three_hundred_calls(shared: Fleet) -> None:
    prefix = uuid.uuid4().hex
    layers = [[f"l{layer}_{number}" for number in range(100)] for layer in range(3)]
    calls = [
        shared.call(
            name, needs=layers[layer - 1] if layer else (), arguments={"key": prefix + name}
        )
        for layer, names in enumerate(layers)
        for name in names
    ]
    clock = Clock()
    view = shared.run(*calls)
    print(
        f"three layers of 100 operations: {clock.seconds:.2f} s, the run itself {view.seconds:.2f} s"
    )
    assert view.state == "succeeded"
    counted = {key: n for key, n in shared.executions().items() if prefix in key}
    assert len(counted) == sum(counted.values()) == 300
    ends = [max(one(view, name).finished for name in names) for names in layers]
    begins = [min(one(view, name).started for name in names) for names in layers]
    assert ends[0] <= begins[1]
    assert ends[1] <= begins[2]


def test_a_capability_set_that_is_asked_for_later_is_served_soon_after(
    shared: Fleet,
) -> None:
    clock = Clock()
    # No other test asks for these together of this fleet's server.
    view = shared.run(shared.call("a", requires=["code_review", "unit_testing"]))
    assert view.state == "succeeded"
    assert clock.seconds < 15  # sooner than an overdue operation is looked for
