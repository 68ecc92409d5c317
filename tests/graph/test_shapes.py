import pytest

from omx_tasks.graph.shapes import missing


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({}, ("a", None, "b")),
        (True, ("a",)),
        ({"type": "object"}, ("a",)),
        ({"type": ["object", "null"], "properties": {"a": {}}}, ("a", "b")),
        ({"properties": {"a": {}}, "patternProperties": {"^x": {}}}, ("xy",)),
        ({"properties": {"a": {}}, "additionalProperties": {"type": "string"}}, ("b",)),
        ({"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}, ("b",)),
        ({"properties": {"k": {}}, "if": {}, "then": {"properties": {"b": {}}}}, ("b",)),
        ({"type": "array", "prefixItems": [{"properties": {"a": {}}}]}, (None, "z")),
        ({"$ref": "https://example.invalid/schema"}, ("a",)),
        ({"$ref": "#/$defs/no"}, ("a",)),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"properties": {"x": {}}}}}, ("x",)),
        ({"$ref": "#", "properties": {"a": {}}}, ("a",)),
    ],
)
def test_a_path_that_the_schema_allows_or_is_silent_about_lacks_nothing(schema, path):
    assert missing(schema, path) is None


@pytest.mark.parametrize(
    ("schema", "path", "depth", "known"),
    [
        ({"properties": {"a": {}}}, ("b",), 0, ["a"]),
        ({"properties": {"a": {"type": "string"}}}, ("a", "b"), 1, []),
        ({"properties": {"a": {"type": "string"}}}, ("a", None), 1, []),
        ({"additionalProperties": False, "type": "object"}, ("a",), 0, []),
        ({"oneOf": [{"properties": {"a": {}}}, {"type": "null"}]}, ("b",), 0, ["a"]),
        ({"type": "array", "items": {"properties": {"a": {}}}}, (None, "b"), 1, ["a"]),
        ({"$ref": "#", "properties": {"a": {"$ref": "#"}}}, ("a", "a", "b"), 2, ["a"]),
    ],
)
def test_the_first_step_that_no_value_can_have_is_found(schema, path, depth, known):
    assert missing(schema, path) == (depth, known)
