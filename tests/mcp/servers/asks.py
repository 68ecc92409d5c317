"""Tools that ask the client for sampling, elicitation or roots (argument ``method``).

With the argument ``early`` the server asks for roots as soon as it is initialized.
"""

import sys

import wire

METHODS = {
    "sampling/createMessage": {"messages": [], "maxTokens": 10},
    "elicitation/create": {
        "message": "Sure?",
        "requestedSchema": {"type": "object", "properties": {}},
    },
    "roots/list": {},
}
asking: dict[str, wire.Message] = {}
held: list[wire.Message] = []


def ask(request: wire.Message) -> None:
    """Fails when it is refused."""
    put(request, "ask")


def ask_and_hang(request: wire.Message) -> None:
    """Never answers."""
    put(request, "hang")


def put(request: wire.Message, kind: str) -> None:
    method = wire.arguments(request)["method"]
    number = f"{kind}-{request['id']}"
    asking[number] = request
    wire.send({"id": number, "method": method, "params": METHODS[method]})


def hold(request: wire.Message) -> None:
    held.append(request)


def release(request: wire.Message) -> None:
    for waiting in held:
        wire.text(waiting, "released")
    wire.text(request, "done")


def refused(message: wire.Message) -> None:
    number = message.get("id", "")
    if number.startswith("ask-"):
        wire.text(asking.pop(number), "it was refused", is_error=True)


def ask_early() -> None:
    if "early" in sys.argv:
        wire.send({"id": "early", "method": "roots/list", "params": {}})


server = wire.Server({"ask": ask, "ask_and_hang": ask_and_hang, "hold": hold, "release": release})
server.other = refused
server.on_initialized = ask_early
server.serve()
