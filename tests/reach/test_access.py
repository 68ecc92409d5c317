"""Users of the cluster: what they need, and what is said when something is missing."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from celery import chord, states
from server_nodes import ServerNodes
from task_worker import HERE, TaskWorker

from omx_tasks.agents.registry import agents
from omx_tasks.broker import queues
from omx_tasks.cluster.binary import find_server
from omx_tasks.errors import ConfigurationError
from omx_tasks.store import access
from omx_tasks.store.client import Store, StoreError
from omx_tasks.store.links import Links

Until = Callable[..., None]
SECRET = "p@ss/w:rd,1?&%#"
#: What a script calls: a command, and its subcommand where it has one.
CALL = re.compile(r"redis\.call\('(\w+)'(?:, '([A-Z]+)')?")


class User:
    """A user on all nodes of the plain cluster."""

    def __init__(self, hosts: str) -> None:
        self.hosts = hosts
        self.name = f"ann-{uuid.uuid4().hex[:8]}/@,ä"

    def may(self, rule: Sequence[str], secret: str = SECRET) -> str:
        """Set the user's rights; returns the address with its password."""
        login = (">" + secret,) if secret else ("nopass",)
        self.everywhere("ACL", "SETUSER", self.name, "reset", "on", *login, *rule)
        return self.url(secret)

    def url(self, secret: str = SECRET) -> str:
        credentials = quote(self.name, safe="") + (":" + quote(secret, safe="") if secret else "")
        return f"rediscluster://{credentials}@{self.hosts}"

    def everywhere(self, *command: str) -> list[object]:
        answers = []
        for host in self.hosts.split(","):
            name, port = host.split(":")
            with redis.Redis(name, int(port), socket_timeout=5) as client:
                answers.append(client.execute_command(*command))
        return answers

    def refused(self) -> list[str]:
        """Return what the servers refused this user."""
        logs = self.everywhere("ACL", "LOG")
        return [str(entry) for log in logs for entry in log if self.name in str(entry)]  # type: ignore[attr-defined]


@pytest.fixture
def user(store: Store) -> Iterator[User]:
    store.ping(5)
    nodes = dict.fromkeys(store.topology._known)
    user = User(",".join(str(node) for node in nodes))
    yield user
    user.everywhere("ACL", "DELUSER", user.name)


def test_a_worker_and_its_callers_need_no_more_than_the_rule(user: User, tmp_path: Path) -> None:
    with TaskWorker(user.may(access.RULE), tmp_path / "log") as worker:
        assert worker.call("add", 1, 2) == 3
        ping = worker.app.control.ping([f"{worker.queue}@test"], timeout=60)
        assert ping == [{f"{worker.queue}@test": {"ok": "pong"}}]
        header = [worker.task("add", i, i) for i in range(4)]
        result = chord(header)(worker.task("total"))
        assert result.get(timeout=60) == 12
        result.forget()
        worker.app.control.purge()
    assert user.refused() == []
    log = worker.log.read_text()
    assert SECRET not in log
    shown = f"rediscluster://{quote(user.name, safe='')}:**@{user.hosts}"
    assert log.count(shown) >= 2, "the worker's banner shows where broker and results are"


def test_the_rule_allows_every_command_of_every_script(user: User) -> None:
    user.may(access.RULE)
    commands: set[tuple[str, ...]] = set()
    for file in (resources.files("omx_tasks.store") / "lua").iterdir():
        commands |= set(CALL.findall(file.read_text("utf-8")))
    assert len(commands) > 20
    assert [command for command in sorted(commands) if not _may(user, *command)] == []


GRAPH = """
name: two
operations:
  - {id: a, server: time, tool: get_current_time, arguments: {timezone: UTC}}
  - {id: b, server: time, tool: get_current_time, arguments: {timezone: UTC}, needs: [a]}
"""


def test_a_graph_runs_under_the_rule(tmp_path: Path, until: Until) -> None:
    nodes = ServerNodes(tmp_path / "nodes")
    nodes.everywhere("ACL", "SETUSER", "ann", "on", ">" + SECRET, *access.RULE)
    url = f"rediscluster://ann:{quote(SECRET, safe='')}@{nodes.hosts}"
    (tmp_path / "two.yaml").write_text(GRAPH)
    server = {"command": sys.executable, "args": ["-m", "mcp_server_time"]}
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {"time": server}}))
    environ = {**os.environ, "OMX_BROKER_URL": url}
    command = [sys.executable, "-m", "celery", "-A", "omx_tasks", "worker"]
    log = (tmp_path / "log").open("wb")
    agent = subprocess.Popen(command, env=environ, cwd=tmp_path, stdout=log, stderr=log)
    store = Store(url, timeout=10)
    try:
        until(lambda: agents(store))
        run = [sys.executable, "-m", "omx_tasks.cli.main", "run", "two.yaml"]
        done = subprocess.run(
            run, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert nodes.everywhere("ACL", "LOG") == [[], [], []]
    finally:
        agent.terminate()
        agent.wait(60)
        log.close()
        store.close()
        nodes.stop()


def _may(user: User, command: str, subcommand: str) -> bool:
    """Ask the servers; that the number of arguments is wrong says that he may."""
    words = [subcommand] if subcommand else []
    try:
        return (
            user.everywhere("ACL", "DRYRUN", user.name, command, *words, *["omx:{x}"] * 3)[0]
            == b"OK"
        )
    except redis.ResponseError as error:
        return "wrong number of arguments" in str(error)


@pytest.mark.parametrize("secret", [SECRET, "plain", ""])
def test_a_user_is_known_by_any_password_or_none(user: User, secret: str) -> None:
    store = Store(user.may((*access.RULE, "+acl|whoami"), secret), timeout=10)
    assert store.command("k", "ACL", "WHOAMI") == user.name.encode()
    store.close()


def test_a_user_without_a_password_is_not_taken_for_the_default_user(user: User) -> None:
    store = Store(user.may(("~other:*", *access.RULE[4:]), ""), timeout=10)
    with pytest.raises(StoreError, match="NOPERM"):
        store.command("omx:{x}", "GET", "omx:{x}")
    store.close()


def test_a_wrong_password_is_told_at_once_and_not_shown(user: User) -> None:
    user.may(access.RULE)
    store = Store(user.url("wrong-secret"), timeout=3600)
    with pytest.raises(ConfigurationError, match=r"password of user .* is wrong") as error:
        store.command("k", "GET", "k")
    shown = "".join((str(error.value), repr(error.value), repr(store), repr(store.address)))
    assert "wrong-secret" not in shown


def test_a_worker_with_a_wrong_password_ends_and_says_why(user: User, tmp_path: Path) -> None:
    user.may(access.RULE)
    with TaskWorker(user.url("wrong-secret"), tmp_path / "log") as worker:
        assert worker.process is not None
        assert worker.process.wait(60) != 0
    log = worker.log.read_text()
    assert "is wrong" in log
    assert "wrong-secret" not in log


def test_a_caller_with_a_wrong_password_is_told_at_once(user: User, tmp_path: Path) -> None:
    user.may(access.RULE)
    worker = TaskWorker(user.url("wrong-secret"), tmp_path / "log")
    with pytest.raises(ConfigurationError, match="is wrong"):
        worker.task("add", 1, 2).delay()
    with pytest.raises(ConfigurationError, match="is wrong"):
        worker.app.backend.get_result(str(uuid.uuid4()))
    worker.close()


def test_a_login_that_is_needed_is_asked_for(tmp_path: Path) -> None:
    nodes = ServerNodes(tmp_path, settings=["--requirepass", "needed"], password="needed")
    try:
        with pytest.raises(ConfigurationError, match="user:password@ in front of the first host"):
            Store(f"rediscluster://{nodes.hosts}").ping(5)
        store = Store(f"rediscluster://:needed@{nodes.hosts}")
        store.ping(5)
        store.close()
    finally:
        nodes.stop()


def test_a_missing_right_names_command_and_key(user: User) -> None:
    store = Store(user.may((*access.RULE, "-get")), timeout=10)
    with pytest.raises(StoreError, match=r"may not use GET on 'omx:\{x\}'"):
        store.command("omx:{x}", "GET", "omx:{x}")
    with pytest.raises(StoreError, match=r"may not use SET on 'other'"):
        store.command("other", "SET", "other", "1")
    store.close()


@pytest.mark.parametrize("program", [None, "redis-server"])
def test_a_missing_right_of_a_script_names_script_and_key(
    tmp_path: Path, program: str | None
) -> None:
    """Redis 7.0 and Valkey say it in different words."""
    if program is not None and shutil.which(program) is None:
        pytest.skip(f"there is no {program} on this machine")
    nodes = ServerNodes(tmp_path, server=find_server(program))
    try:
        nodes.everywhere("ACL", "SETUSER", "ann", "on", "nopass", *access.RULE, "-zcard")
        store = Store(f"rediscluster://ann@{nodes.hosts}", timeout=10)
        with pytest.raises(StoreError, match=r"may not run all of stats_1 on 'omx:\{q\}:meta'"):
            store.run(queues.stats("q"))
        store.close()
    finally:
        nodes.stop()


def test_a_missing_right_to_learn_the_slots_is_named(user: User) -> None:
    store = Store(user.may((*access.RULE, "-cluster|slots")), timeout=3600)
    with pytest.raises(ConfigurationError, match="may not use CLUSTER SLOTS"):
        store.command("k", "GET", "k")


def test_a_channel_that_may_not_be_heard_is_logged_once(
    user: User, queue: str, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(user.may([part for part in access.RULE if part[0] != "&"]), timeout=10)
    store.ping(5)
    links = Links(store, attended=lambda _: None, heard=lambda *_: None, dropped=lambda _: None)
    attempts: list[str] = []
    links._attended = attempts.append
    links.want(queue)

    def step() -> object:
        links.upkeep()
        links.wait(0.01)
        return len(attempts) > 2

    with caplog.at_level(logging.ERROR):
        until(step)
    links.close()
    store.close()
    assert [
        r.message for r in caplog.records if "SSUBSCRIBE" in r.message and queue in r.message
    ] == [caplog.records[0].message]


def test_a_worker_goes_on_when_its_user_is_let_in_again(user: User, tmp_path: Path) -> None:
    with TaskWorker(user.may(access.RULE), tmp_path / "log") as worker:
        assert worker.call("add", 1, 2) == 3
        user.everywhere("ACL", "SETUSER", user.name, "off")  # existing connections are kept
        user.everywhere("CLIENT", "KILL", "USER", user.name)
        user.may(access.RULE)
        assert worker.call("add", 2, 2) == 4


def test_a_password_is_in_none_of_celerys_reports(user: User, tmp_path: Path) -> None:
    worker = TaskWorker(user.may(access.RULE), tmp_path / "log")
    report = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "reach_app", "report"], cwd=HERE, env=worker.environ,
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    connection = worker.app.connection()
    worker.app.backend.store_result(str(uuid.uuid4()), 1, states.SUCCESS)
    shown = [
        report.stdout + report.stderr, worker.app.bugreport(), connection.as_uri(), repr(connection),
        worker.app.backend.as_uri(), repr(worker.app.backend), repr(worker.app.backend.store),
        repr(connection.transport), str(connection.info().get("transport")),
    ]  # fmt: skip
    for text in shown:
        assert SECRET not in text
        assert quote(SECRET, safe="") not in text
    assert all(host in report.stdout for host in user.hosts.split(","))
    worker.close()
