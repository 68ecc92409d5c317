"""A server that keeps what it takes: ``leak`` takes so many MiB; ``hold`` is answered when ``release`` is called."""

import wire

kept: list[bytearray] = []
held: list[wire.Message] = []


def leak(request: wire.Message) -> None:
    kept.append(bytearray(b"x") * (wire.arguments(request)["mib"] * 2**20))
    wire.text(request, "done")


def release(request: wire.Message) -> None:
    for waiting in held:
        wire.text(waiting, "released")
    held.clear()
    wire.text(request, "done")


wire.Server({"leak": leak, "hold": held.append, "release": release}).serve()
