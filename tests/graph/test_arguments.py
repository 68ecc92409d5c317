"""Arguments against an input schema: nested ones too, and with references whose values nobody knows yet."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from omx_tasks.graph.arguments import Schema

LINE = {
    "type": "object",
    "properties": {
        "sku": {"type": "string", "pattern": "^[a-z]+$"},
        "count": {"type": "integer", "minimum": 1},
        "colour": {"enum": ["red", "green", 3]},
    },
    "required": ["sku", "count"],
    "additionalProperties": False,
}
ORDER = {
    "type": "object",
    "properties": {
        "customer": {"type": "string"},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}, "maxItems": 3},
        "gift": {"anyOf": [{"$ref": "#/$defs/Line"}, {"type": "null"}]},
        "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "tags": {"type": "array", "uniqueItems": True},
        "labels": {"type": "object", "patternProperties": {"^x-": {}}, "additionalProperties": False},
    },
    "if": {"required": ["customer"], "properties": {"customer": {"const": "shop"}}},
    "then": {"properties": {"limit": {"type": "null"}}},
    "anyOf": [{"required": ["customer"]}, {"required": ["lines"]}],
    "required": ["lines"],
    "$defs": {"Line": LINE},
}  # fmt: skip
GOOD = {"sku": "nail", "count": 1}


def problems(**arguments: Any) -> list[str]:
    return list(Schema(ORDER).problems({"lines": [GOOD]} | arguments, "order"))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"lines": [GOOD, {"count": 1}]},
         "argument 'lines[1]' of tool 'order' lacks 'sku'; add it"),
        ({"lines": [{}]}, "argument 'lines[0]' of tool 'order' lacks 'sku', 'count'; add them"),
        ({"lines": [GOOD | {"colr": "red"}]},
         "argument 'lines[0]' of tool 'order' has no key 'colr'. Did you mean 'colour'?"),
        ({"lines": [GOOD | {"zzz": 1}]},
         "argument 'lines[0]' of tool 'order' has no key 'zzz'. It takes: sku, count, colour"),
        ({"lines": [GOOD | {"colour": "gren"}]},
         "argument 'lines[0].colour' of tool 'order' must be one of ['red', 'green', 3], "
         "not 'gren'. Did you mean 'green'?"),
        ({"lines": [GOOD | {"colour": 4}]},
         "argument 'lines[0].colour' of tool 'order' must be one of ['red', 'green', 3], not 4"),
        ({"lines": [GOOD | {"count": 0}]},
         "argument 'lines[0].count' of tool 'order' does not fit its schema: "
         "0 is less than the minimum of 1"),
        ({"gift": {"sku": "nail"}}, "argument 'gift' of tool 'order' lacks 'count'; add it"),
        ({"labels": {"x-a": 1, "y": 2}},
         "argument 'labels' of tool 'order' has no key 'y'. It takes: none"),
        ({"limit": "all"}, "argument 'limit' of tool 'order' must be integer or null, not 'all'"),
        ({"customer": "shop", "limit": 1},
         "argument 'limit' of tool 'order' must be null, not 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_inside_an_argument_is_told_with_its_place(arguments, problem):
    assert problems(**arguments) == [problem]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"lines": [{"sku": "${a.text}", "cuont": 1}], "customer": "${a.text}"},
         ["argument 'lines[0]' of tool 'order' lacks 'count'; add it",
          "argument 'lines[0]' of tool 'order' has no key 'cuont'. Did you mean 'count'?"]),
        ({"lines": [{"sku": "${a.text}", "count": "one"}]},
         ["argument 'lines[0].count' of tool 'order' must be integer, not 'one'"]),
        ({"lines": [{"sku": "s", "count": "${a.text} pieces"}]},
         ["argument 'lines[0].count' of tool 'order' must be integer, not '${a.text} pieces'"]),
        ({"lines": ["${a.structured}", 3]},
         ["argument 'lines[1]' of tool 'order' must be object, not 3"]),
        ({"lines": ["${a}", "${b}", "${c}", "${d}"]},
         ["argument 'lines' of tool 'order' does not fit its schema: "
          "['${a}', '${b}', '${c}', '${d}'] is too long"]),
    ],
)  # fmt: skip
def test_what_is_certainly_wrong_beside_a_reference_is_told(arguments, problem):
    assert problems(**arguments) == problem


@pytest.mark.parametrize(
    "arguments",
    [
        {"lines": "${a.structured.lines}"},
        {"lines": ["${a.structured}", {"sku": "a${a.text}", "count": "${a.structured.n}"}]},
        {"lines": [GOOD | {"colour": "${a.text}"}, GOOD | {"colour": "g${a.text}"}]},
        {"gift": "${a.structured}", "limit": "${a.structured.limit}"},
        {"gift": {"sku": "${a.text}"}},
        {"tags": ["${a.text}", "${a.text}"]},
        {"tags": ["x ${a.text}", "x ${a.text}"]},
        {"customer": "${a.text}", "limit": 1},
        {"labels": {"x-a": "${a}"}},
    ],
)
def test_what_may_turn_out_well_passes(arguments):
    assert problems(**arguments) == []


def test_what_is_wrong_with_the_arguments_together_is_told_once_all_are_known():
    schema = Schema({"anyOf": [{"required": ["path"]}, {"required": ["uri"]}]})
    (line,) = schema.problems({"name": "x"}, "open")
    assert line.startswith("the arguments of tool 'open' do not fit its schema: ")
    assert list(schema.problems({"name": "${a.text}", "mode": "r"}, "open")) == []


def test_a_long_message_is_cut():
    schema = Schema({"properties": {"n": {"enum": [f"zone-{number}" for number in range(500)]}}})
    (line,) = schema.problems({"n": "zone"}, "t")
    assert len(line) < 350


def test_a_schema_is_compiled_once_however_often_graphs_are_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled = []
    check = Draft202012Validator.check_schema
    monkeypatch.setattr(
        Draft202012Validator,
        "check_schema",
        lambda schema, **keys: (compiled.append(schema), check(schema, **keys)),
    )
    schema = {"type": "object", "properties": {"once": {"type": "integer"}}}
    found = [list(Schema(dict(schema)).problems({"once": "no"}, "t")) for _ in range(3)]
    assert len(compiled) == 1
    assert found[0]
    assert found[0] == found[1] == found[2]
