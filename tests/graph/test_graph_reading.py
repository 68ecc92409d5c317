import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omx_tasks.errors import GraphError
from omx_tasks.graph.reading import MAX_DEPTH, plain, read, shown

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("14:30", "14:30"),
        ("2024-01-01", "2024-01-01"),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("007", "007"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        ("12", 12),
        ("-3", -3),
        ("1e3", 1000.0),
        ("0.5", 0.5),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("'12'", "12"),
        ("=", "="),
    ],
)
def test_a_yaml_scalar_means_what_it_means_in_json_and_is_text_otherwise(text, value):
    result = read(f"[{text}]")[0]
    assert result == value
    assert type(result) is type(value)


@given(JSON)
def test_every_json_text_is_read_as_json_reads_it(value):
    assert read(json.dumps({"a": value})) == {"a": value}


def test_yaml_flow_style_that_is_not_json_is_read_too():
    assert read("{a: [1, two], b: {c: null}}") == {"a": [1, "two"], "b": {"c": None}}


def test_merge_keys_and_anchors_work():
    assert read("base: &b {x: 1}\nmore: {<<: *b, y: 2}") == {
        "base": {"x": 1},
        "more": {"x": 1, "y": 2},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "line 2, column 1: not valid YAML or JSON: key 'a' is given twice"),
        ("x:\n  - {b: 1, b: 2}", "line 2, column 12: .*key 'b' is given twice"),
        ('{"a": 1, "a": 2}', "key 'a' is given twice in one mapping; keep one"),
        ('{"a": NaN}', "NaN is not JSON; use a finite number"),
        ('{"a": -Infinity}', "-Infinity is not JSON"),
        ("a: [1", "line 2, column 1: not valid YAML or JSON: while parsing a flow sequence, did"),
        ("a: *b", "line 1, column 4: not valid YAML or JSON: found undefined alias"),
        ("a: 1\n---\nb: 2", "line 2, column 1: .*expected a single document in the stream, but"),
        ("!!python/object:os.system {}", "line 1, column 1: .*could not determine a constructor"),
        ("a: \x00", "not valid YAML or JSON: unacceptable character"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused_with_its_place(text, message):
    with pytest.raises(GraphError, match=message):
        read(text)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "- " * 200_000 + "x"])
def test_a_text_nested_without_end_is_refused_instead_of_overflowing_the_stack(text):
    with pytest.raises(GraphError, match="nests deeper than 100 levels; make it flatter"):
        read(text)


def test_aliases_that_mean_billions_of_values_are_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(ValueError, match="holds more than 1000000 values; make it smaller"):
        plain(read("\n".join(lines)))


def test_an_alias_to_itself_is_refused():
    with pytest.raises(ValueError, match=f"nests deeper than {MAX_DEPTH} levels"):
        plain(read("a: &a [*a]"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, {2}]}, r"holds \{2\} at a\[1\], which is not JSON; use text, numbers"),
        ({"a": {"b": float("nan")}}, "holds nan at a.b, which JSON cannot; use a finite number"),
        (float("inf"), "holds inf, which JSON cannot"),
        ({"a": {1: 2}}, "has the key 1 at a, which is not text; put it in quotes"),
        (b"x", "holds b'x', which is not JSON"),
        (datetime.date(2024, 1, 1), "holds datetime.date"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_place(value, message):
    with pytest.raises(ValueError, match=message):
        plain(value)


def test_plain_copies_and_turns_tuples_into_lists():
    value = {"a": (1, [2])}
    copied = plain(value)
    assert copied == {"a": [1, [2]]}
    assert copied["a"][1] is not value["a"][1]


@given(st.text(max_size=200))
def test_a_shown_value_is_one_short_line(text):
    assert len(shown(text)) <= 60
    assert len(shown(text).splitlines()) <= 1
