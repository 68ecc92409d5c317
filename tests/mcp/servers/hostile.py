"""A server that harms whom it can, over raw standard input and output. ``wait`` and ``say`` behave."""

import json
import os
import sys
import threading
import time

import wire

lock = threading.Lock()
MEGABYTE = 1_000_000


def write(text: str) -> None:
    with lock:
        sys.stdout.write(text)
        sys.stdout.flush()


def line(message: wire.Message) -> str:
    return json.dumps({"jsonrpc": "2.0", **message}) + "\n"


def result(identity: object, words: str) -> wire.Message:
    return {"id": identity, "result": {"content": [{"type": "text", "text": words}]}}


def answer(request: wire.Message, words: str) -> None:
    write(line(result(request["id"], words)))


def say(request: wire.Message) -> None:
    answer(request, "hi")


def wait(request: wire.Message) -> None:
    """Answer after so many seconds, others meanwhile."""
    seconds = wire.arguments(request)["seconds"]
    threading.Timer(seconds, answer, (request, "waited")).start()


def huge(request: wire.Message) -> None:
    answer(request, "x" * wire.arguments(request)["megabytes"] * MEGABYTE)


def huge_backwards(request: wire.Message) -> None:
    """The id comes last."""
    content = result(0, "x" * wire.arguments(request)["megabytes"] * MEGABYTE)["result"]
    write(json.dumps({"jsonrpc": "2.0", "result": content, "id": request["id"]}) + "\n")


def endless(request: wire.Message) -> None:
    for _ in range(wire.arguments(request)["megabytes"]):
        write("y" * MEGABYTE)
    write("\n")
    answer(request, "was that too much?")


def flood(request: wire.Message) -> None:
    token = request["params"]["_meta"]["progressToken"]
    for step in range(wire.arguments(request)["times"]):
        params = {"progressToken": token, "progress": step, "message": "z" * 500}
        write(line({"method": "notifications/progress", "params": params}))
    answer(request, "flooded")


def twice(request: wire.Message) -> None:
    answer(request, "first")
    answer(request, "second")


def late(request: wire.Message) -> None:
    time.sleep(wire.arguments(request)["seconds"])
    answer(request, "late")


def garbage(request: wire.Message) -> None:
    write(
        "<html>\n\x00\x1b[31m{]\n[1, 2]\n\n{}\n"
        + "{" * 10_000
        + "\n"
        + "\udcff\n".encode("utf-8", "replace").decode()
    )
    os.write(1, b"\xff\xfe\x00\n")
    answer(request, "was that clear?")


def cut(request: wire.Message) -> None:
    """Close standard output in the middle of a message and stay."""
    write(line(result(request["id"], "cut"))[:30])
    os.close(1)


def deaf(request: wire.Message) -> None:
    """Answer, and never read again."""
    answer(request, "pardon?")
    time.sleep(3600)


def ask(request: wire.Message) -> None:
    """Ask for all that a client may be asked for, and answer all the same."""
    for number, method in enumerate(("roots/list", "ping", "no/such/method")):
        write(line({"id": f"q{number}", "method": method}))
    answer(request, "asked")


def wrong(request: wire.Message) -> None:
    """Answer under ids that nobody asked under, and not under the right one."""
    for identity in (request["id"] + 1000, -1, "x", None, 1.5, True, str(request["id"]) + "0"):
        write(line(result(identity, "wrong")))


if __name__ == "__main__":
    tools = (
        say,
        wait,
        huge,
        huge_backwards,
        endless,
        flood,
        twice,
        late,
        garbage,
        cut,
        deaf,
        ask,
        wrong,
    )
    wire.Server({tool.__name__: tool for tool in tools}).serve()
