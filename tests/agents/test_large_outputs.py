"""Large outputs: refused above the limit, compressed where that is wanted, and read as they were either way."""

from __future__ import annotations

import asyncio
import json

import pytest
from fleet import Fleet, one

from omx_tasks.results import outputs
from omx_tasks.store import keys
from omx_tasks.store.client import Store


@pytest.mark.parametrize("above", [0, 10])
@pytest.mark.parametrize("value", [{"text": "x" * 100, "structured": None}, {"text": "é\ud800"}])
def test_what_is_packed_is_read_as_it_was(value: object, above: int) -> None:
    stored = asyncio.run(outputs.packed(json.dumps(value), above))
    assert isinstance(stored, bytes) == bool(above)
    assert (
        outputs.parsed(stored) == outputs.parsed(stored if above else str(stored).encode()) == value
    )


def test_a_large_output_is_stored_compressed_and_seen_by_those_who_refer_to_it(
    fleet: Fleet, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMX_COMPRESS_ABOVE", "1000")
    fleet.start()
    large = "word " * 20_000
    run = fleet.submit(
        fleet.call("a", arguments={"value": large}),
        fleet.call("b", arguments={"value": "${a.structured.value}"}),
        fleet.call("c", arguments={"value": "${length(b.structured.value)}"}),
    )
    view = run.wait(60)
    assert one(view, "a").structured["value"] == one(view, "b").structured["value"] == large
    assert one(view, "c").structured["value"] == len(large)
    key = keys.outputs(run.id)
    sizes = [store.command(key, "HSTRLEN", key, name) for name in ("a", "b", "c")]
    assert max(sizes[:2]) < len(large) / 10
    assert store.command(key, "HGET", key, "c").startswith(b"{")


def test_an_output_above_the_limit_fails_its_operation_alone(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMX_OUTPUT_LIMIT", "2000")
    monkeypatch.setenv("OMX_COMPRESS_ABOVE", "1000")
    fleet.start()
    view = fleet.run(fleet.call("a", arguments={"value": "x" * 3000}), fleet.call("b"))
    error = one(view, "a").error
    assert error is not None
    assert (error["kind"], one(view, "b").state) == ("size", "succeeded")
    assert "OMX_OUTPUT_LIMIT allows 2,000" in error["message"]
