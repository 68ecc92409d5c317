"""Messages that are written after a pattern are those that Celery would have built, field for field."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, Task, signals
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError

from omx_tasks.broker import queues
from omx_tasks.broker.form import Form, blank, quoted
from omx_tasks.broker.many import publish_many
from omx_tasks.broker.pattern import TaskCall
from omx_tasks.broker.transport import register
from omx_tasks.store.client import Store

LATER = datetime(2100, 1, 1, 12, 30, 15, 250, tzinfo=UTC)
CALLS: list[TaskCall] = [
    TaskCall((1, 2), task_id="first"),
    TaskCall((), {"a": "100% \"quoted\" 'text'", "b": [None, True, 0.5]}, task_id="second"),
    TaskCall(["ü\n\\", {"deep": {"er": ["x" * 2000]}}], {}, task_id="third"),
    TaskCall((LATER, b"bytes"), task_id="fourth"),
]

Take = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def app(cluster_url: str, queue: str) -> Iterator[Celery]:
    register()
    app = Celery("many", broker=cluster_url, backend=cluster_url, set_as_current=False)
    app.conf.task_default_queue = queue
    app.task(_add, name="add")
    app.finalize()
    yield app
    app.close()


def _add(a: Any = None, b: Any = None) -> Any:
    return a, b


@pytest.fixture
def take(store: Store, queue: str) -> Take:
    """Take all messages of a queue as they are stored, in the order in which they are delivered."""

    def take(name: str = queue) -> list[dict[str, Any]]:
        messages, left = [], 1
        while left:
            got = queues.claimed(
                store.run(queues.claim(name, uuid4().hex, most=1000, lease=60_000))
            )
            messages += [json.loads(delivery.body) for delivery in got.deliveries]
            left = got.left
        store.run(queues.delete(name))
        return messages

    return take


def _comparable(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages without what differs each time, their bodies as values."""
    tags = {message["properties"].pop("delivery_tag") for message in messages}
    assert len(tags) == len(messages)
    for message in messages:  # milliseconds until LATER
        if left := message["properties"].get("expiration"):
            message["properties"]["expiration"] = round(int(left), -6)
    return [{**message, "body": _value(message["body"])} for message in messages]


def _value(body: str) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body


def _each(task: Any, calls: list[TaskCall], **options: Any) -> None:
    for call in calls:
        own = {name: value for name, value in call._asdict().items() if value is not None}
        task.apply_async(**{**options, **own})


OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "priority": {"priority": 0},
    "least urgent": {"priority": 3},
    "rank": {"rank": 700},
    "expiry": {"expires": LATER},
    "headers": {"headers": {"tenant": "blue %s %(id)s", "n": 1}},
    "a header in place of Celery's": {"headers": {"argsrepr": "hidden", "kwargsrepr": "hidden"}},
    "shown by hand": {"argsrepr": "(...)", "kwargsrepr": "{...}"},
    "root and parent": {"root_id": "first", "parent_id": "above"},
    "group": {"group_id": "group", "group_index": 3},
    "chord": {"chord": {"task": "add", "args": [], "kwargs": {}}},
    "ignored result": {"ignore_result": True},
    "reply": {"reply_to": "somebody", "correlation_id": "mine"},
    "limits and shadow": {"time_limit": 9, "soft_time_limit": 5, "shadow": "other"},
    "stamps": {"stamped_headers": ["stamp"], "stamp": "value"},
    "compression": {"compression": "zlib"},
    "transient": {"delivery_mode": 1},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_messages_are_those_of_apply_async(
    app: Celery, take: Take, options: dict[str, Any]
) -> None:
    task = app.tasks["add"]
    _each(task, CALLS, **options)
    expected = _comparable(take())

    ids = publish_many(task, CALLS, **options)
    assert ids == [call.task_id for call in CALLS]
    assert _comparable(take()) == expected
    assert len(expected) == len(CALLS)


def test_links_are_in_every_message(app: Celery, take: Take) -> None:
    task = app.tasks["add"]
    options = {
        "link": task.s(5).set(task_id="next"),
        "link_error": [task.si().set(task_id="wrong")],
    }
    _each(task, CALLS, **options)
    expected = _comparable(take())
    publish_many(task, CALLS, **options)
    got = _comparable(take())
    assert got == expected
    assert all(message["body"][2]["callbacks"] for message in got)


def test_what_a_call_says_itself_goes_before_what_holds_for_all(app: Celery, take: Take) -> None:
    task = app.tasks["add"]
    calls = [
        TaskCall((1,), task_id="a", priority=3),
        TaskCall((2,), task_id="b"),
        TaskCall((3,), task_id="c", priority=1),
        TaskCall((4,), task_id="d", rank=5),
        TaskCall((5,), task_id="e", rank=900),
        TaskCall((6,), task_id="f", priority=1, rank=10),
        TaskCall((7,), task_id="g", priority=1, rank=20),
    ]
    _each(task, calls, priority=2)
    expected = _comparable(take())
    publish_many(task, calls, priority=2)
    got = _comparable(take())
    assert got == expected
    assert [message["headers"]["id"] for message in got] == list("gfcedba")


def test_messages_for_later_wait_until_then(
    app: Celery, take: Take, store: Store, queue: str
) -> None:
    task = app.tasks["add"]
    publish_many(task, [((n,),) for n in range(3)], countdown=3600)
    publish_many(task, [TaskCall((n,), eta=LATER) for n in range(2)], countdown=5)
    assert queues.read_stats(store.run(queues.stats(queue))).delayed == 5


@pytest.mark.parametrize("own", [False, True], ids=["all", "each"])
def test_an_eta_is_told_as_apply_async_tells_it(
    app: Celery, take: Take, store: Store, queue: str, own: bool
) -> None:
    past = datetime(2020, 1, 1, tzinfo=UTC)
    task = app.tasks["add"]
    calls = [
        TaskCall((n,), task_id=str(n), eta=past + timedelta(n) if own else None) for n in range(3)
    ]
    options = {} if own else {"eta": past}
    _each(task, calls, **options)
    expected = _comparable(take())
    publish_many(task, calls, **options)
    assert _comparable(take()) == expected


def test_a_countdown_becomes_an_eta_of_every_message(app: Celery, take: Take) -> None:
    publish_many(app.tasks["add"], [((n,),) for n in range(3)], countdown=-5)
    moments = [datetime.fromisoformat(message["headers"]["eta"]) for message in take()]
    assert len(moments) == 3
    assert all(abs(datetime.now(UTC) - moment) < timedelta(seconds=60) for moment in moments)


def test_inside_a_running_task_the_messages_name_their_parent_and_are_its_children(
    app: Celery, take: Take, queue: str
) -> None:
    task = app.tasks["add"]

    @app.task(bind=True)  # type: ignore[untyped-decorator]
    def parent(self: Task, *, many: bool) -> list[str]:
        assert app.current_worker_task is self
        (publish_many if many else _each)(task, CALLS, queue=queue)
        return [child.id for child in self.request.children]

    expected_children = parent.apply(kwargs={"many": False}, task_id="above").get()
    expected = _comparable(take())
    children = parent.apply(kwargs={"many": True}, task_id="above").get()
    got = _comparable(take())
    assert got == expected
    assert children == expected_children == [call.task_id for call in CALLS]
    assert {message["headers"]["parent_id"] for message in got} == {"above"}


def test_every_queue_of_a_topic_gets_its_message(app: Celery, take: Take, queue: str) -> None:
    exchange = Exchange(f"topic-{queue}", type="topic")
    bound = [Queue(f"{queue}-{number}", exchange, f"news.{queue}.*") for number in range(2)]
    options = {"exchange": exchange, "routing_key": f"news.{queue}.now", "declare": bound}
    _each(app.tasks["add"], CALLS, **options)
    expected = [_comparable(take(each.name)) for each in bound]
    publish_many(app.tasks["add"], CALLS, **options)
    assert [_comparable(take(each.name)) for each in bound] == expected
    assert [len(messages) for messages in expected] == [len(CALLS)] * 2


def test_a_task_of_another_process_is_published_by_its_name(app: Celery, take: Take) -> None:
    ids = publish_many("elsewhere.task", CALLS, app=app, priority=1)
    got = take()
    assert [message["headers"]["id"] for message in got] == ids
    assert {message["headers"]["task"] for message in got} == {"elsewhere.task"}
    with pytest.raises(TypeError, match=r"pass app=…"):
        publish_many("elsewhere.task", CALLS)


def test_ids_are_given_to_calls_without_one_and_more_than_a_script_takes_are_stored(
    app: Celery, take: Take
) -> None:
    ids = publish_many(app.tasks["add"], (((n,), {}) for n in range(2300)))
    got = take()
    assert [message["headers"]["id"] for message in got] == ids
    assert [json.loads(message["body"])[0] for message in got] == [[n] for n in range(2300)]
    tags = {message["properties"]["delivery_tag"] for message in got}
    assert len(set(ids)) == len(tags) == 2300
    # Celery built one, the others were written after it
    assert len({tag[:36] for tag in tags}) == 2


@pytest.mark.parametrize("wrong", [((1, 2, 3), {}), ("text", {}), ((), 5)], ids=str)
def test_a_call_that_apply_async_refuses_is_refused_and_nothing_is_stored(
    app: Celery, take: Take, wrong: tuple[Any, ...]
) -> None:
    task = app.tasks["add"]
    with pytest.raises(TypeError) as expected:
        task.apply_async(*wrong)
    with pytest.raises(TypeError) as got:
        publish_many(task, [((1,), {}), wrong])
    assert str(got.value) == str(expected.value)
    assert take() == []


def test_who_listens_to_publishing_is_told_of_every_message(app: Celery, take: Take) -> None:
    told: list[tuple[str, str]] = []

    def before(sender: str, headers: dict[str, Any], **_: Any) -> None:
        headers["seen"] = headers["id"]

    def after(sender: str, headers: dict[str, Any], **_: Any) -> None:
        told.append((sender, headers["id"]))

    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    try:
        ids = publish_many(app.tasks["add"], CALLS)
    finally:
        signals.before_task_publish.disconnect(before)
        signals.after_task_publish.disconnect(after)
    assert told == [("add", name) for name in ids]
    assert [message["headers"]["seen"] for message in take()] == ids


def test_an_event_is_sent_for_every_message_where_the_app_says_so(app: Celery, take: Take) -> None:
    app.conf.task_send_sent_event = True
    sent: list[str] = []
    with app.connection_for_read() as connection:
        handlers = {"task-sent": lambda event: sent.append(event["uuid"])}
        receiver = app.events.Receiver(connection, handlers=handlers)
        with receiver.consumer_context(wakeup=False) as (listening, _, _):
            ids = publish_many(app.tasks["add"], CALLS)
            while len(sent) < len(CALLS):
                listening.drain_events(timeout=60)
    assert sent == ids
    assert len(take()) == len(CALLS)


def test_a_route_that_looks_at_the_arguments_is_asked_for_every_message(
    app: Celery, take: Take, queue: str
) -> None:
    def route(_name: str, args: Any, *_: Any, **__: Any) -> dict[str, str]:
        return {"queue": f"{queue}-{args[0]}"}

    app.conf.task_routes = (route,)
    publish_many(app.tasks["add"], [((n,), {}) for n in (0, 1, 0)])
    assert [len(take(f"{queue}-{number}")) for number in range(2)] == [2, 1]


def test_a_task_with_an_apply_async_of_its_own_is_published_by_it(app: Celery, take: Take) -> None:
    class Marked(Task):  # type: ignore[misc]
        def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            return super().apply_async(args, {**(kwargs or {}), "b": "mark"}, **options)

    task = app.task(_add, name="marked", base=Marked)
    publish_many(task, [((n,),) for n in range(3)])
    assert [json.loads(message["body"])[1] for message in take()] == [{"b": "mark"}] * 3


def test_other_transports_get_their_messages_one_by_one(queue: str) -> None:
    with Celery("memory", broker="memory://", set_as_current=False) as app:
        app.conf.task_default_queue = queue
        ids = publish_many(app.task(_add, name="add"), CALLS)
        with app.connection_for_read() as connection:
            simple = connection.SimpleQueue(queue)
            assert [simple.get(timeout=1).headers["id"] for _ in CALLS] == ids


def test_without_a_cluster_the_error_is_that_of_apply_async() -> None:
    with Celery("lost", broker="rediscluster://127.0.0.1:1", set_as_current=False) as app:
        app.conf.broker_transport_options = {"timeout": 0.1}
        app.conf.task_publish_retry = False
        app.conf.broker_connection_timeout = 0.2
        task = app.task(_add, name="add")
        with pytest.raises(OperationalError):
            task.apply_async()
        with pytest.raises(OperationalError):
            publish_many(task, CALLS)


def test_a_form_takes_any_text_as_it_is() -> None:
    text = '100% of "%(a)s"\n\u2028 ü'
    form = Form({text: blank("a"), "rest": ["%s", blank("b"), blank("a")]})
    filled = json.loads(form.filled({"a": quoted(text), "b": "[1, null]"}))
    assert filled == {text: text, "rest": ["%s", [1, None], text]}
