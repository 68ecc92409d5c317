"""Servers that are reached over HTTP: the same calls, and the same words when they are gone."""

from __future__ import annotations

import logging

import pytest

from omx_tasks.mcp.calls import call
from omx_tasks.mcp.config import ServerConfig
from omx_tasks.mcp.session import Session


@pytest.mark.parametrize("transport", ["http", "sse"])
def test_a_web_server_is_called_and_asks_nobody(run, web, agent, fails, transport):
    config, _ = web(transport)

    async def scenario():
        session = await Session.open(config, deadline=60, agent=agent)
        value = await call(session, "tool", "add", {"a": 1, "b": 2}, timeout=60)
        error = await fails(call(session, "tool", "elicit", {}, timeout=60))
        await session.close()
        return value, error

    value, error = run(scenario())
    assert value["text"] == "3"
    assert error.kind == "client_request"


@pytest.mark.parametrize("transport", ["http", "sse"])
def test_a_killed_web_server_fails_the_calls_and_not_the_caller(
    run, web, agent, fails, begin, transport
):
    config, process = web(transport)

    async def scenario():
        session = await Session.open(config, deadline=60, agent=agent)
        waiting = await begin(session, fails(call(session, "tool", "hold", {}, timeout=60)))
        await call(session, "tool", "add", {"a": 1, "b": 2}, timeout=60)
        process.kill()
        first = await waiting
        later = await fails(call(session, "tool", "add", {"a": 1, "b": 2}, timeout=60))
        alive = session.alive
        await session.close()
        return first, later, alive

    first, later, alive = run(scenario())
    assert (first.kind, later.kind) == ("connection", "connection")
    assert not alive


def test_a_web_server_that_is_not_there_is_named_without_its_credentials(
    run, agent, tmp_path, fails
):
    url = "http://user:a-secret@127.0.0.1:9/mcp?token=a-secret"
    config = ServerConfig("web", tmp_path / "mcp.json", "http", url=url, is_resolved=True)
    error = run(fails(Session.open(config, deadline=60, agent=agent)))
    assert error.kind == "server"
    assert "http://127.0.0.1:9/mcp" in error.message
    assert "a-secret" not in error.message


def test_a_refused_request_names_the_http_status(run, web, agent, fails):
    config, _ = web("http")
    other = ServerConfig(
        "web", config.path, "http", url=config.url.replace("/mcp", "/no"), is_resolved=True
    )
    error = run(fails(Session.open(other, deadline=60, agent=agent)))
    assert error.kind == "server"
    assert "HTTP 404 Not Found" in error.message


def test_a_token_in_the_url_is_not_logged(run, web, agent, caplog):
    config, _ = web("http")
    caplog.set_level(logging.INFO)
    secret = ServerConfig(
        "web", config.path, "http", url=f"{config.url}?token=a-secret", is_resolved=True
    )

    async def scenario():
        session = await Session.open(secret, deadline=60, agent=agent)
        await session.close()

    run(scenario())
    assert "a-secret" not in caplog.text
