"""``omx publish``, ``omx events`` and ``omx handle`` on the tests' own cluster."""

from __future__ import annotations

import json
import os
import signal
import uuid

import pytest


@pytest.fixture
def omx(place, cluster_url):
    def run(*words, **environ):
        return place.omx(*words, OMX_BROKER_URL=cluster_url, **environ)

    return run


@pytest.fixture
def word():
    return f"t{uuid.uuid4().hex[:12]}"


def test_what_is_published_is_shown(omx, word):
    first = omx("publish", f"{word}.paid", "--key", "k", "--data", '{"sum": 3}', "--json")
    assert first.code == 0, first.err
    second = omx("publish", f"{word}.sent", "--priority", "P0")
    assert second.code == 0, second.err
    shown = omx("events", "--type", f"{word}.*", "--json")
    events = [json.loads(line) for line in shown.out.splitlines()]
    assert [event["id"] for event in events] == [first.json["id"], second.out.strip()]
    assert [event["priority"] for event in events] == [2, 0]
    assert (events[0]["key"], events[0]["data"]) == ("k", {"sum": 3})
    readable = omx("events", "--type", f"{word}.paid")
    assert f'P2  {word}.paid  k  {{"sum": 3}}' in readable.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("paid",), "'paid' is no type of event"),
        (("order.paid", "--data", "{"), "--data '{' is no JSON"),
        (("order.paid", "--data", "[1]"), "must be an object, not list"),
        (("agent.started", "--data", "{}"), "agent: Field required"),
        (("order.paid", "--priority", "P7"), "'P7' is not one of 'P0', 'P1', 'P2', 'P3'"),
    ],
)
def test_a_wrong_event_is_refused_and_nothing_is_published(omx, words, says):
    answer = omx("publish", *words)
    assert answer.code == 2
    assert says in answer.err


def test_following_shows_what_comes(place, omx, cluster_url, word):
    omx("publish", f"{word}.before")
    following = place.start(
        "events", "--type", f"{word}.*", "--follow", "--json", OMX_BROKER_URL=cluster_url
    )
    following.until(lambda: f"{word}.before" in following.out)
    omx("publish", f"{word}.after")
    following.until(lambda: f"{word}.after" in following.out)
    following.send(signal.SIGINT)
    assert following.end().code == 130


def test_handlers_are_served_until_the_end(place, omx, cluster_url, word):
    told = place.folder / "told"
    (place.folder / "shop.py").write_text(
        "from pathlib import Path\nfrom omx_tasks import on\n\n"
        f"@on('{word}.*', begins='oldest')\n"
        f"def ship(event):\n    Path({str(told)!r}).write_text(event.data['what'])\n"
    )
    path = os.pathsep.join(filter(None, (str(place.folder), os.environ.get("PYTHONPATH"))))
    serving = place.start("handle", "shop", OMX_BROKER_URL=cluster_url, PYTHONPATH=path)
    omx("publish", f"{word}.paid", "--data", '{"what": "beans"}')
    serving.until(lambda: told.exists() and told.read_text())
    serving.send(signal.SIGTERM)
    assert serving.end().code == 0
    assert told.read_text() == "beans"


def test_what_a_handler_failed_on_is_shown_put_back_and_dropped(place, omx, cluster_url, word):
    good = place.folder / "good"
    (place.folder / "shop.py").write_text(
        "from pathlib import Path\nfrom omx_tasks import on\n\n"
        f"@on('{word}.*', begins='oldest', deliveries=1, name='{word}')\n"
        f"def ship(event):\n    if not Path({str(good)!r}).exists():\n        raise ValueError('shut')\n"
    )
    path = os.pathsep.join(filter(None, (str(place.folder), os.environ.get("PYTHONPATH"))))
    serving = place.start("handle", "shop", OMX_BROKER_URL=cluster_url, PYTHONPATH=path)

    def standing():
        return {one["handler"]: one for one in omx("events", "handlers", "--json").json}.get(word)

    urgent = omx("publish", f"{word}.paid", "--priority", "P0").out.strip()
    late = omx("publish", f"{word}.sent", "--key", "k").out.strip()
    serving.until(lambda: (standing() or {}).get("dead") == 2)
    serving.until(lambda: standing()["partitions"] == {"served": 6, "of": 6})
    assert len(standing()["processes"]) == 1
    assert standing()["failed"] == 2

    listed = {one["id"]: one for one in omx("events", "dead", word, "--json").json}
    assert listed.keys() == {urgent, late}
    assert listed[late]["error"] == "ValueError: shut"
    assert f'"type": "{word}.paid"' in omx("events", "dead", "show", urgent).out

    good.touch()
    assert omx("events", "dead", "replay", urgent, "--json").json == {word: 1}
    serving.until(lambda: standing()["retrying"] == 0)
    assert (omx("events", "forget", word).code, standing()["dead"]) == (2, 1)
    assert [one["id"] for one in omx("events", "dead", word, "--json").json] == [late]
    assert omx("events", "dead", "drop", "--handler", word, "--json").json == {word: 1}
    assert "nothing is dead" in omx("events", "dead", word).err
    serving.send(signal.SIGTERM)
    assert serving.end().code == 0
    assert standing()["partitions"] == {"served": 0, "of": 6}
    assert omx("events", "forget", word, "--json").json == {"forgotten": word}
    assert standing() is None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("list", "nobody"), "no handler 'nobody'"),
        (("show", "x"), "no dead event 'x': `omx events dead` lists them"),
        (("drop",), "name the events (`omx events dead` lists them), or say --handler"),
    ],
)
def test_a_wrong_word_about_dead_events_changes_nothing(omx, words, says):
    answer = omx("events", "dead", *words)
    assert answer.code == 2
    assert says in answer.err


def test_without_handlers_there_is_nothing_to_serve(omx):
    answer = omx("handle")
    assert answer.code == 2
    assert "there are no handlers: name a MODULE" in answer.err
