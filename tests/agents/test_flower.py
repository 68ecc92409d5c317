"""Flower beside a real agent, on a cluster that asks for a password, found by three seeds."""

from __future__ import annotations

import re
import shutil
import subprocess
import urllib.error
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from fleet import Fleet, states
from flower_process import FlowerProcess

from omx_tasks.broker import queues
from omx_tasks.broker.queues import Posting
from omx_tasks.graph.marker import names_of, task_id
from omx_tasks.priorities import Priority
from omx_tasks.store import access, keys
from omx_tasks.store.client import Store

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom")
SECRET = "pass/word,1"

Until = Callable[..., None]


@pytest.fixture(scope="module")
def url(cluster_url: str) -> Iterator[str]:
    """The cluster's address for a user with a password and no more rights than needed."""
    hosts = cluster_url.partition("://")[2].split(",")
    user = f"flower{uuid.uuid4().hex[:8]}"

    def everywhere(*command: str) -> None:
        for host in hosts:
            name, port = host.split(":")
            with redis.Redis(name, int(port), socket_timeout=5) as client:
                client.execute_command(*command)

    everywhere("ACL", "SETUSER", user, "reset", "on", ">" + SECRET, *access.RULE)
    yield f"rediscluster://{user}:{quote(SECRET, safe='')}@{','.join(hosts[:3])}"
    everywhere("ACL", "DELUSER", user)


@pytest.fixture(scope="module")
def crew(url: str, tmp_path_factory: pytest.TempPathFactory, until: Until) -> Iterator[Fleet]:
    """One agent of two slots."""
    store = Store(url, timeout=10.0)
    fleet = Fleet(tmp_path_factory.mktemp("crew"), url, store, until)
    fleet.start(slots=2)
    yield fleet
    fleet.stop()
    store.close()


@pytest.fixture(scope="module")
def flower(
    crew: Fleet, tmp_path_factory: pytest.TempPathFactory, until: Until
) -> Iterator[FlowerProcess]:
    """Flower, once it knows the agent; nothing went wrong in it, and it told nobody the password."""
    flower = FlowerProcess(crew.url, tmp_path_factory.mktemp("flower") / "log")
    name = crew.agents[0].name
    until(flower.answers)
    # It asks for each by itself, and shows what came in time.
    wanted = {"active_queues", "stats"}
    until(lambda: wanted <= flower.get("/api/workers", refresh=1).get(name, {}).keys())
    yield flower
    flower.stop()
    log = flower.log.read_text()
    assert "Traceback" not in log, log
    assert "pass" not in log.replace("**", ""), log


def test_only_those_who_know_the_password_see_it(flower: FlowerProcess) -> None:
    for path in ("/", "/broker", "/api/workers"):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            flower.open(path, user="ann:guessed")


def test_an_agent_is_shown_with_its_queues_and_without_the_brokers_password(
    flower: FlowerProcess, crew: Fleet
) -> None:
    name = crew.agents[0].name
    told = flower.get("/api/workers", workername=name)[name]
    assert f"omx.server:{crew.ledger}" in [queue["name"] for queue in told["active_queues"]]
    hidden = crew.url.replace(quote(SECRET, safe=""), "**")
    assert told["stats"]["broker"]["hostname"] == hidden
    for page in ("/", f"/worker/{name}", "/broker"):
        text = flower.open(page)
        assert SECRET not in text
        assert quote(SECRET, safe="") not in text


def test_a_task_names_its_run_its_operation_its_server_and_tool(
    flower: FlowerProcess, crew: Fleet, until: Until
) -> None:
    def shown() -> str | None:
        """Run two operations; what runs before Flower has asked for events is in none of them."""
        run = crew.submit(crew.call("first"), crew.call("second", needs=["first"]))
        assert run.wait(60).state == "succeeded"
        tasks = flower.get("/api/tasks", state="SUCCESS")
        return next((name for name in tasks if name.endswith(".second")), None)

    until(shown)
    name = str(shown())
    run_id, operation = names_of(name)
    told = flower.get(f"/api/task/info/{name}")
    assert told["args"] == f"('{run_id}', '{operation}')"
    assert told["kwargs"] == f"{{server: {crew.ledger}, tool: read}}"
    assert told["worker"] == crew.agents[0].name
    assert told["kwargs"] in flower.open(f"/task/{name}").replace("&#x27;", "'")
    result = flower.get(f"/api/task/result/{name}")
    assert (result["state"], sorted(result["result"])) == (
        "SUCCESS",
        ["content", "structured", "text"],
    )


def test_the_result_of_an_operation_that_failed_or_was_skipped_is_told(
    flower: FlowerProcess, crew: Fleet
) -> None:
    run = crew.submit(crew.call("wrong", tool="nothing"), crew.call("then", needs=["wrong"]))
    assert states(run.wait(60)) == {"wrong": "failed", "then": "skipped"}
    failed = flower.get(f"/api/task/result/{task_id(run.id, 'wrong')}")
    assert failed["state"] == "FAILURE"
    assert "nothing" in failed["result"]
    assert flower.get(f"/api/task/result/{task_id(run.id, 'then')}")["state"] == "REVOKED"


def test_the_broker_page_counts_each_priority_and_what_is_leased_or_dead(
    flower: FlowerProcess, store: Store, queue: str, until: Until
) -> None:
    known = keys.queue_names()
    store.run(queues.declare(queue))
    store.command(known, "SADD", known, queue)
    store.run(queues.publish(queue, [Posting("dies", "{}")]))
    store.run(queues.claim(queue, "t1", most=1, lease=1))
    until(lambda: store.run(queues.sweep(queue, deliveries=1))[1])
    postings = [
        Posting(f"{number}{at}", "{}", priority)
        for number, priority in enumerate(Priority)
        for at in range(number + 2)
    ]
    store.run(queues.publish(queue, postings))
    store.run(queues.claim(queue, "t2", most=1, lease=60_000))
    found = flower.get("/api/queues/length")["active_queues"]
    told = next(one for one in found if one["name"] == queue)
    assert told["waiting"] == {"P0": 1, "P1": 3, "P2": 4, "P3": 5}
    assert (told["messages"], told["messages_ready"]) == (14, 13)
    assert (told["messages_unacknowledged"], told["dead"], told["consumers"]) == (1, 1, 0)
    row = flower.open("/broker").partition(f'<tr id="{queue}">')[2].partition("</tr>")[0]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row)
    assert cells[:9] == [queue, "1", "3", "4", "5", "13", "1", "0", "1"]
    store.run(queues.delete(queue))


def test_an_agent_is_controlled(flower: FlowerProcess, crew: Fleet, until: Until) -> None:
    agent = crew.agents[0]

    def size() -> int:
        """Return what the agent said; 0 where it did not answer in time."""
        inspected = flower.get("/api/workers", refresh=1, workername=agent.name)[agent.name]
        return int(inspected.get("stats", {}).get("pool", {}).get("max-concurrency", 0))

    flower.order(f"/api/worker/pool/grow/{agent.name}", n=3)
    until(lambda: size() == 5)
    flower.order(f"/api/worker/pool/shrink/{agent.name}", n=2)
    until(lambda: size() == 3)
    run = crew.submit(crew.call("long", arguments={"seconds": 60}))
    until(lambda: crew.executions()["read long"])
    flower.order(f"/api/task/revoke/{task_id(run.id, 'long')}", terminate="true")
    assert states(run.wait(60)) == {"long": "cancelled"}
    until(lambda: flower.get(f"/api/task/info/{task_id(run.id, 'long')}")["state"] == "REVOKED")


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here")
def test_the_pages_draw_themselves_in_a_browser(
    flower: FlowerProcess, crew: Fleet, tmp_path: Path
) -> None:
    assert crew.run(crew.call("drawn")).state == "succeeded"

    def drawn(path: str) -> str:
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        command = [str(BROWSER), *OPTIONS, profile, "--virtual-time-budget=3000", flower.page(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert "CONSOLE" not in done.stderr, done.stderr
        return done.stdout

    assert f"{{server: {crew.ledger}, tool: read}}" in drawn("/tasks")
    assert crew.agents[0].name in drawn("/workers")
    assert f"omx.server:{crew.ledger}" in drawn("/broker")


def test_an_agent_is_told_to_end(flower: FlowerProcess, crew: Fleet) -> None:
    agent = crew.agents[0]
    flower.order(f"/api/worker/shutdown/{agent.name}")
    assert agent.end() == 0
