"""The runner's promise: whatever happens, each delivery is answered for once."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from omx_tasks.agents import runner as runner_module
from omx_tasks.agents.caller import Note, OwnSession
from omx_tasks.agents.onward import Begun
from omx_tasks.agents.run_state import EarlyError
from omx_tasks.agents.runner import Runner
from omx_tasks.broker import queues
from omx_tasks.broker.queues import Posting
from omx_tasks.errors import OmxError, UnavailableError
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.plan import compile_plan
from omx_tasks.graph.stored import StoredPlan, StoredStep
from omx_tasks.mcp.calls import Progress
from omx_tasks.mcp.loop import LoopThread
from omx_tasks.results.joins import Following, Outcome, Start
from omx_tasks.store.scripts import Call

GRAPH = Graph(name="g", operations=[Operation(id=name, server="s", tool="t") for name in "ab"])
DOCUMENT = StoredPlan.of(compile_plan(GRAPH), {}).document().encode()


class Answers:
    """In the wire's place: answers each script with what the test says, in a later round of the loop."""

    batch = 0
    loop: asyncio.AbstractEventLoop | None = None

    def __init__(self) -> None:
        self.by_script: dict[str, Any] = {
            "read_plan_1": DOCUMENT,
            "start_1": [[b"go", 1, 0, b""]],
            "finish_1": [[[]]],
            "publish_1": [1, 0],
            "sent_1": b"go",
        }
        self.asked: list[str] = []
        self.confirmed: list[str] = []
        #: The arguments of what was asked last, by script.
        self.arguments: dict[str, Sequence[Any]] = {}
        #: While it is set, durable calls are stored and not confirmed.
        self.hold = False
        self.held: list[Callable[[], None]] = []

    def send(
        self,
        call: Call,
        done: Callable[[Any], None],
        stored: Callable[[Any], None] | None = None,
    ) -> None:
        self.asked.append(call.script.name)
        self.arguments[call.script.name] = call.arguments
        if call.durable:
            self.confirmed.append(call.script.name)
        if call.durable and stored is not None and self.hold:
            self.soon(lambda: self._tell(stored, self._answer(call)))
            self.held.append(lambda: self._tell(done, self._answer(call)))
        else:
            self.soon(lambda: self._tell(done, self._answer(call)))

    def let_go(self) -> None:
        """Confirm what was held."""
        self.hold = False
        assert self.loop is not None
        for tell in self.held:
            self.loop.call_soon_threadsafe(tell)

    def _answer(self, call: Call) -> Any:
        answer, count = self.by_script[call.script.name], len(call.arguments)
        steps = {"start_1": (count - 1) // 3, "finish_1": (count - 1) // 7}.get(call.script.name)
        return answer * steps if steps and isinstance(answer, list) else answer

    def soon(self, act: Callable[[], None]) -> None:
        self.loop = asyncio.get_running_loop()
        asyncio.get_running_loop().call_soon(act)

    def _tell(self, done: Callable[[Any], None], answer: Any) -> None:
        with contextlib.suppress(ConnectionError):  # a wire logs what an answer's reader raises
            done(answer)


class Calls:
    """In the caller's place: succeeds, or waits until it is let go."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.blocked = False
        self.begun = 0
        self.harmless = True
        self.step: StoredStep | None = None

    def is_harmless(self, _step: StoredStep) -> bool:
        return self.harmless

    def check(self, _server: str) -> None:
        """Every server can be called."""

    async def call(
        self,
        step: StoredStep,
        attempt: int,
        _target: str,
        _arguments: dict[str, Any],
        _on_progress: Progress,
        _run_id: str,
        note: Note,
        _asked: float | None,
        _own: OwnSession | None,
    ) -> Outcome:
        if not self.harmless:
            await note("{}")
        self.begun += 1
        self.step = step
        while self.blocked:
            await asyncio.sleep(0.001)
        if self.error is not None:
            raise self.error
        return Outcome("succeeded", attempt)


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def advance() -> list[Any]:
    """What `advance` does with ready operations: raise the error that is in it."""
    return []


@pytest.fixture
def published() -> list[str]:
    """The operations that `advance` was told to publish."""
    return []


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    loop = LoopThread()
    loop.start()
    yield loop
    loop.stop()


@pytest.fixture
def runner(
    loop: LoopThread,
    answers: Answers,
    calls: Calls,
    advance: list[Any],
    published: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Runner:
    monkeypatch.setattr(runner_module, "PATIENCE", 0.0)

    def publish(_run_id: str, _plan: StoredPlan, ready: Sequence[str]) -> list[Call]:
        if advance:
            raise advance[0]
        published.extend(ready)
        return [queues.publish("queue", [Posting(name, "")]) for name in ready]

    return Runner(
        agent="agent",
        loop=loop,
        wire=answers,  # type: ignore[arg-type]
        caller=calls,  # type: ignore[arg-type]
        advance=publish,
        slots=1,
    )


def test_an_operation_that_succeeds_is_answered_with_its_outcome(
    runner: Runner, answers: Answers
) -> None:
    outcome = runner.run("run", "a")
    assert outcome is not None
    assert outcome.state == "succeeded"
    assert answers.asked == ["read_plan_1", "start_1", "finish_1"]
    assert runner.drain(0)


@pytest.mark.parametrize("script", ["read_plan_1", "start_1", "finish_1"])
def test_when_the_cluster_cannot_be_asked_the_message_goes_back(
    runner: Runner, answers: Answers, script: str
) -> None:
    answers.by_script[script] = UnavailableError("down")
    with pytest.raises(OmxError, match="down"):
        runner.run("run", "a")
    assert runner.drain(60)


def test_a_plan_that_cannot_be_read_sends_the_message_back(
    runner: Runner, answers: Answers
) -> None:
    answers.by_script["read_plan_1"] = b'{"name": "of a newer version"}'
    with pytest.raises(OmxError, match="internal"):
        runner.run("run", "a")
    assert runner.drain(60)
    answers.by_script["read_plan_1"] = DOCUMENT
    assert runner.run("run", "a") is not None


def test_what_is_not_its_turn_yet_goes_back_uncalled(
    runner: Runner, answers: Answers, calls: Calls
) -> None:
    answers.by_script["start_1"] = [[b"early"]]
    with pytest.raises(EarlyError, match="not ready"):
        runner.run("run", "a")
    assert calls.begun == 0
    assert runner.drain(60)


@pytest.mark.parametrize("harmless", [True, False])
def test_one_confirmation_is_waited_for_before_a_call_that_may_not_be_made_twice(
    runner: Runner, answers: Answers, calls: Calls, harmless: bool
) -> None:
    calls.harmless = harmless
    assert runner.run("run", "a") is not None
    assert answers.confirmed == (["finish_1"] if harmless else ["sent_1", "finish_1"])


def test_what_goes_on_notes_its_call_by_the_token_with_which_it_was_begun(
    runner: Runner, answers: Answers, calls: Calls, loop: LoopThread
) -> None:
    calls.harmless = False
    over: Future[OmxError | None] = Future()

    async def go_on() -> None:
        before: asyncio.Future[OmxError | None] = asyncio.get_running_loop().create_future()
        before.set_result(None)
        following = Following("b", "token", "a")
        plan = StoredPlan.parse(DOCUMENT)
        begun = Begun("run", plan, following, Start("go", 1), before, placed=False)
        runner.submit("run", "b", lambda _, error: over.set_result(error), begun=begun)

    loop.run(go_on())
    assert over.result(5) is None
    assert answers.arguments["sent_1"][:2] == ("b", "token")
    assert "start_1" not in answers.asked


def test_what_became_ready_is_published_before_the_outcome_is_confirmed(
    runner: Runner, answers: Answers, published: list[str], until: Callable[..., None]
) -> None:
    """And what only the confirmed answer names, because the first one was lost, is published as well."""
    answers.by_script["finish_1"] = [[[b"b"]]]
    answers.hold = True
    told: list[Any] = []
    runner.submit("run", "a", lambda *ended: told.append(ended))
    until(lambda: published == ["b"] and answers.held)
    assert told == []
    answers.by_script["finish_1"] = [[[b"b", b"c"]]]
    answers.let_go()
    assert runner.drain(60)
    assert published == ["b", "c"]
    assert [(outcome.state, error) for outcome, error in told] == [("succeeded", None)]


def test_when_what_follows_cannot_be_published_the_message_goes_back(
    runner: Runner, answers: Answers, advance: list[Any]
) -> None:
    answers.by_script["finish_1"] = [[[b"unheard_of"]]]
    advance.append(KeyError("unheard_of"))
    with pytest.raises(OmxError, match="internal"):
        runner.run("run", "a")
    assert runner.drain(60)


def test_a_fault_of_the_agent_fails_the_operation_and_frees_its_slot(
    runner: Runner, calls: Calls
) -> None:
    calls.error = ZeroDivisionError("oops")
    outcome = runner.run("run", "a")
    assert outcome is not None
    assert outcome.error == {
        "kind": "internal",
        "message": "internal error of the agent: ZeroDivisionError: oops",
    }
    calls.error = None
    again = runner.run("run", "a")
    assert again is not None
    assert again.state == "succeeded"
    assert runner.busy == 0


def test_a_fault_of_the_agent_after_a_call_was_noted_leaves_it_unknown(
    runner: Runner, calls: Calls
) -> None:
    calls.harmless, calls.error = False, RuntimeError("ours")
    outcome = runner.run("run", "a")
    assert outcome is not None
    assert (outcome.state, outcome.attempts) == ("unknown", 1)
    assert "may have been done" in (outcome.error or {})["message"]


@pytest.mark.parametrize(
    ("run_is", "name"), [(None, "a"), (DOCUMENT, "stranger"), (DOCUMENT, "a[b")]
)
def test_what_is_in_no_run_is_dropped(
    runner: Runner, answers: Answers, run_is: bytes | None, name: str
) -> None:
    answers.by_script["read_plan_1"] = run_is
    assert runner.run("run", name) is None
    assert runner.drain(60)


def test_what_was_only_taken_counts_as_under_way(runner: Runner, calls: Calls) -> None:
    calls.blocked = True
    runner.submit("run", "a", lambda *_: None)
    assert not runner.drain(0)
    calls.blocked = False
    assert runner.drain(60)


def test_what_waits_for_a_slot_has_not_been_begun(
    runner: Runner, calls: Calls, answers: Answers, until: Callable[..., None]
) -> None:
    calls.blocked = True
    for _ in range(3):
        runner.submit("run", "a", lambda *_: None)
    until(lambda: calls.begun == 1)
    assert answers.asked.count("start_1") == 1
    calls.blocked = False
    assert runner.drain(60)
    assert answers.asked.count("start_1") == 3


def test_a_revoked_operation_ends_as_cancelled(
    runner: Runner, calls: Calls, until: Callable[..., None]
) -> None:
    calls.blocked = True
    told: list[Any] = []
    work = runner.submit("run", "a", lambda outcome, error: told.append((outcome.state, error)))
    until(lambda: calls.begun)
    work.terminate()
    assert runner.drain(60)
    assert told == [("cancelled", None)]


@pytest.mark.parametrize("end", ["terminate", "give_up"])
def test_an_operation_that_is_ended_before_it_began_is_answered_for(
    runner: Runner, loop: LoopThread, end: str
) -> None:
    told = threading.Event()

    async def at_once() -> None:
        getattr(runner.submit("run", "a", lambda *_: told.set()), end)()

    loop.run(at_once())
    assert told.wait(60)
    assert runner.drain(60)


def test_an_operation_that_is_given_up_has_no_outcome_and_frees_its_slot(
    runner: Runner, calls: Calls, until: Callable[..., None]
) -> None:
    calls.blocked = True
    told: list[Any] = []
    work = runner.submit("run", "a", lambda outcome, error: told.append((outcome, str(error))))
    until(lambda: calls.begun)
    work.give_up()
    assert runner.drain(60)
    assert told == [(None, "<Work a of run run> was given up")]
    assert runner.busy == 0


def test_more_slots_begin_what_waits_and_fewer_leave_what_runs(
    runner: Runner, calls: Calls, until: Callable[..., None]
) -> None:
    calls.blocked = True
    for _ in range(5):
        runner.submit("run", "a", lambda *_: None)
    until(lambda: calls.begun == 1)
    runner.resize(3)
    until(lambda: calls.begun == 3)
    assert runner.busy == 3
    runner.resize(1)
    calls.blocked = False
    assert runner.drain(60)
    assert calls.begun == 5


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(None, (60.0, 2)), (0.5, (0.5, 0)), (100.0, (60.0, 0)), (120.0, (60.0, 1)), (1e6, (60.0, 2))],
)
def test_a_time_limit_holds_for_all_tries_together(
    runner: Runner, calls: Calls, limit: float | None, expected: tuple[float, int]
) -> None:
    runner.submit("run", "a", lambda *_: None, limit=limit)
    assert runner.drain(60)
    assert calls.step is not None
    assert (calls.step.timeout, calls.step.retries) == expected


def test_what_the_end_of_the_loop_cuts_off_is_given_back(
    runner: Runner, calls: Calls, loop: LoopThread, until: Callable[..., None]
) -> None:
    calls.blocked = True
    told: list[Any] = []
    runner.submit("run", "a", lambda outcome, error: told.append((outcome, str(error))))
    until(lambda: calls.begun)
    loop.stop()
    assert told == [(None, "<Work a of run run> was given up")]
    assert runner.drain(0)


def test_what_comes_after_the_end_of_the_loop_is_given_back(
    runner: Runner, loop: LoopThread
) -> None:
    loop.stop()
    with pytest.raises(OmxError, match="shutting down"):
        runner.run("run", "a")
    assert runner.drain(0)


def test_done_is_drained_only_after_it_was_told(runner: Runner) -> None:
    told = threading.Event()
    hold = threading.Event()

    def done(*_: Any) -> None:
        hold.wait(60)
        told.set()

    runner.submit("run", "a", done)
    assert not runner.drain(0.05)
    hold.set()
    assert runner.drain(60)
    assert told.is_set()


def test_an_acknowledgement_that_fails_does_not_hold_the_place(runner: Runner) -> None:
    def done(*_: Any) -> None:
        raise ConnectionError("the connection is closed")

    runner.submit("run", "a", done)
    assert runner.drain(60)


def test_a_run_is_read_once_however_many_of_its_operations_come(
    runner: Runner, answers: Answers
) -> None:
    for _ in range(5):
        runner.submit("run", "a", lambda *_: None)
    assert runner.drain(60)
    assert answers.asked.count("read_plan_1") == 1
