"""Servers over HTTP that let in only those with a token, refuse, move, expire sessions or answer with too much."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from omx_tasks.agents.caller import Caller
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.plan import compile_plan
from omx_tasks.graph.stored import StoredStep
from omx_tasks.mcp import keeper
from omx_tasks.mcp.access import Credentials
from omx_tasks.mcp.calls import call
from omx_tasks.mcp.pool import SessionPool
from omx_tasks.mcp.session import Session

ROBOT = Credentials("robot", "the-secret")


def robot(**keys) -> Credentials:
    return Credentials("robot", "the-secret", **keys)


@pytest.fixture
def opened(agent):
    """Open a session of a guarded server for as long as a block lasts."""

    class Opened:
        def __init__(self, config, max_message=20_000):
            self._opening = Session.open(config, deadline=60, agent=agent, max_message=max_message)

        async def __aenter__(self):
            self.session = await self._opening
            return self.session

        async def __aexit__(self, *_):
            await self.session.close()

    return Opened


def add(session):
    return call(session, "tool", "add", {"a": 1, "b": 2}, timeout=60)


@pytest.mark.parametrize("way", ["found", "named"])
def test_tokens_are_had_with_client_credentials_and_renewed(run, guarded, opened, way):
    web = guarded()
    named = {"token_url": f"{web.url}/token", "method": "client_secret_post"}
    auth = robot(scopes=("read", "write"), **(named if way == "named" else {}))

    async def scenario():
        async with opened(web.config(auth=auth)) as session:
            await add(session)
            before = web.switch(revoke=True)["issued"]
            naps = (call(session, "tool", "nap", {"seconds": 0.01}, timeout=60) for _ in range(8))
            values = await asyncio.gather(*naps)
            renewed = web.switch(life=1)["issued"] - before
            web.switch(revoke=True)
            await add(session)  # with a token that is soon worn
            while web.switch()["issued"] < 4:
                await add(session)
            return values, before, renewed, web.switch()

    values, before, renewed, seen = run(scenario())
    assert [value["text"] for value in values] == ["awake"] * 8
    # Eight calls were refused, and one new token did for all of them.
    assert (before, renewed, seen["issued"]) == (1, 1, 4)
    asked = {
        "scope": "read write",
        "resource": f"{web.url}/mcp",
        "grant_type": "client_credentials",
    }
    assert seen["asked"] == [asked] * 4


def test_calls_with_tokens_are_answered_side_by_side(run, guarded, opened):
    web = guarded("json")

    async def scenario():
        async with opened(web.config(auth=ROBOT)) as session:
            slow = asyncio.create_task(call(session, "tool", "nap", {"seconds": 50}, timeout=60))
            while not len(session.flights):
                await asyncio.sleep(0)
            value = await add(session)
            return value["text"], slow.done(), slow.cancel()

    assert run(scenario()) == ("3", False, True)


def test_what_stands_between_a_client_and_a_token_is_named(run, guarded, agent, fails, caplog):
    web = guarded()

    def refusal(**keys):
        return run(fails(Session.open(web.config(**keys), deadline=60, agent=agent))).message

    assert "HTTP 401 Unauthorized; its credentials are missing" in refusal()
    wrong = refusal(auth=Credentials("robot", "not-the-secret"))
    assert f"{web.url}/token answered with HTTP 401 invalid_client" in wrong
    assert "check omx.auth.client_id" in wrong
    nowhere = refusal(auth=robot(token_url="http://127.0.0.1:9/token"))
    assert "http://127.0.0.1:9/token cannot be reached" in nowhere
    # The secret is not sent to whom the server names, and nobody is asked there.
    issued = web.switch(elsewhere="https://elsewhere.example")["asked"]
    elsewhere = refusal(auth=ROBOT)
    assert 'write "issuer": "https://elsewhere.example' in elsewhere
    assert web.switch()["asked"] == issued
    assert "the-secret" not in caplog.text + elsewhere + wrong


@pytest.mark.parametrize("legacy", [False, True])
def test_a_refusal_is_said_of_its_own_call_with_a_kind_that_tells_what_to_do(
    run, guarded, opened, fails, legacy
):
    web = guarded()
    web.switch(open=True, legacy=legacy)

    async def scenario():
        found = {}
        async with opened(web.config()) as session:
            for status in (401, 403, 405, 429, 500, 502, 503, 504):
                web.switch(status=status)
                error = await fails(add(session))
                assert f"HTTP {status}" in error.message
                found[status] = error.kind
            web.switch(status=0, move="http://localhost:9/other?token=1")
            moved = await fails(add(session))
            web.switch(move="")
            large = await fails(call(session, "tool", "much", {"size": 30_000}, timeout=60))
            return found, moved, large.kind, (await add(session))["text"]

    found, moved, large, after = run(scenario())
    assert found == {
        **dict.fromkeys((401, 403, 405), "server"),
        **dict.fromkeys((502, 504), "connection"),
        **dict.fromkeys((429, 500, 503), "protocol"),
    }
    assert moved.kind == "protocol"
    assert "Redirect to http://localhost:9/other not followed" in moved.message
    assert (large, after) == ("size", "3")


def test_an_expired_session_is_opened_anew(run, guarded, agent, fails):
    web = guarded()
    web.switch(open=True, legacy=True)

    async def scenario():
        pool = SessionPool({"web": web.config()}, deadline=10, agent=agent, environ={})
        try:
            await pool.warm()
            first = await pool.get("web")
            web.switch(expire=True)
            error = await fails(add(first))
            second = await pool.get("web")
            return error.kind, first is second, (await add(second))["text"]
        finally:
            await pool.close()

    assert run(scenario()) == ("connection", False, "3")


def test_a_write_on_an_expired_session_is_made_on_a_new_one(run, guarded, agent):
    web = guarded()
    web.switch(open=True, legacy=True)
    operation = Operation(id="sum", server="web", tool="add", arguments={"a": 1, "b": 2})
    plan = compile_plan(Graph(name="sums", operations=(operation,)))
    step = StoredStep.of(plan.steps["sum"], plan)
    notes: list[str] = []

    async def note(text):
        notes.append(text)
        return ""

    async def scenario():
        servers = {"web": web.config()}
        pool = SessionPool(servers, deadline=10, agent=agent, environ={})
        try:
            await pool.warm()
            web.switch(expire=True)
            caller = Caller(agent, pool, servers, 10_000)
            return await caller.call(step, 1, "add", {"a": 1, "b": 2}, note=note)
        finally:
            await pool.close()

    outcome = run(scenario())
    assert (outcome.state, outcome.attempts, len(notes)) == ("succeeded", 2, 1)


def test_calls_that_are_not_let_in_open_the_circuit(run, guarded, agent, fails, monkeypatch):
    monkeypatch.setattr(keeper, "PULSE", 0.5)
    web = guarded()

    async def scenario():
        config = web.config(auth=ROBOT)
        pool = SessionPool({"web": config}, deadline=10, agent=agent, environ={})
        try:
            await pool.warm()
            web.switch(deny=True, revoke=True)
            while pool.live("web") is not None:
                pool.refused("web", await fails(add(await pool.get("web"))))
            refused = pool.circuits()["web"].refusal().message
            web.switch(deny=False)
            while pool.live("web") is None:
                await asyncio.sleep(0.01)
            return refused, (await add(await pool.get("web")))["text"]
        finally:
            await pool.close()

    refused, after = run(scenario())
    assert "invalid_client" in refused
    assert after == "3"


def test_a_certificate_is_verified_and_an_own_authority_can_be_named(
    run, guarded, opened, agent, fails, tmp_path: Path
):
    certificate, key = str(tmp_path / "own.pem"), str(tmp_path / "own.key")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-subj", "/CN=own", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1",
         "-addext", "keyUsage=critical,digitalSignature,keyCertSign",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True, timeout=20,
    )  # fmt: skip
    web = guarded(certificate, key)

    async def scenario():
        strange = await fails(Session.open(web.config(auth=ROBOT), deadline=60, agent=agent))
        missing = await fails(Session.open(web.config(ca="no.pem"), deadline=60, agent=agent))
        async with opened(web.config(auth=ROBOT, ca="own.pem")) as session:
            return strange.message, missing.message, (await add(session))["text"]

    strange, missing, value = run(scenario())
    assert "CERTIFICATE_VERIFY_FAILED" in strange
    assert '"omx": {"ca": FILE}' in strange
    assert "no.pem' holds no certificates" in missing
    assert value == "3"
