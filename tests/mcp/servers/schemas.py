"""A server whose tools say strange things of what they answer; each answers an empty object."""

import wire

STRANGE = {
    "wrong": {"properties": {"a": {"type": 5}}},
    "endless": {"allOf": [{"$ref": "#"}]},
    "elsewhere": {"allOf": [{"$ref": "https://example.invalid/schema"}]},
    "broken": {"patternProperties": {"(": {}}},
    "unknown": {"$schema": "https://example.invalid/draft"},
    "fine": {},
}
SCHEMAS = {name: {"type": "object", **strange} for name, strange in STRANGE.items()}


def answer(request: wire.Message) -> None:
    wire.answer(request, {"content": [], "structuredContent": {}})


wire.Server(dict.fromkeys(SCHEMAS, answer), **SCHEMAS).serve()
