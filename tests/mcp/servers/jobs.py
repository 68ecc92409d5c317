"""Tools that end badly, late, or oddly."""

import json
import os
import signal
import sys

import wire

cancelled: list[int] = []
held: list[wire.Message] = []


def die(request: wire.Message) -> None:
    sys.stderr.write("the disk is on fire\n")
    sys.stderr.flush()
    os._exit(7)


def kill(request: wire.Message) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def freeze(request: wire.Message) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def hold(request: wire.Message) -> None:
    """Never answered, unless released. Says on standard error that it has begun."""
    held.append(request)


def release(request: wire.Message) -> None:
    for waiting in held:
        wire.text(waiting, "released")
    held.clear()
    wire.text(request, "done")


def list_cancelled(request: wire.Message) -> None:
    wire.text(request, json.dumps(cancelled))


def progress(request: wire.Message) -> None:
    token = request["params"]["_meta"]["progressToken"]
    for step in (1, 2):
        params = {"progressToken": token, "progress": step, "total": 2, "message": f"step {step}"}
        wire.send({"method": "notifications/progress", "params": params})
    wire.text(request, "done")


def invalid(request: wire.Message) -> None:
    wire.answer(request, {"content": [], "structuredContent": {"number": "none"}})


def shapeless(request: wire.Message) -> None:
    wire.answer(request, {"content": "this should be a list"})


def say(request: wire.Message) -> None:
    words = wire.arguments(request)["words"]
    wire.answer(request, {"content": [{"type": "text", "text": word} for word in words]})


def fail(request: wire.Message) -> None:
    wire.text(request, f"no luck with {os.environ.get('TOKEN', 'nothing')}", is_error=True)


def error(request: wire.Message) -> None:
    wire.refuse(request, -32000, "the server's own trouble")


def environment(request: wire.Message) -> None:
    wire.text(request, json.dumps(dict(os.environ)))


def note_cancelled(message: wire.Message) -> None:
    if message.get("method") == "notifications/cancelled":
        cancelled.append(message["params"]["requestId"])


tools = {
    function.__name__: function
    for function in (
        die,
        kill,
        freeze,
        hold,
        release,
        list_cancelled,
        progress,
        invalid,
        shapeless,
        say,
        fail,
        error,
        environment,
    )
}
server = wire.Server(
    tools, invalid={"type": "object", "properties": {"number": {"type": "integer"}}}
)
server.other = note_cancelled
server.serve()
