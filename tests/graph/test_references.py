import json
from contextlib import suppress

import jmespath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omx_tasks.errors import GraphError, OperationError
from omx_tasks.graph.references import evaluate, names, resolve, single

SCOPE = {
    "inputs": {"folder": "docs", "n": 3},
    "list": {
        "text": "a\nb",
        "structured": {"notes": [{"name": "a", "size": 2}, {"name": "b", "size": 1}]},
        "error": None,
    },
    "each": [{"text": "A"}, {"text": "B"}],
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${inputs.n}", 3),
        ("${inputs}", {"folder": "docs", "n": 3}),
        ("${ inputs.n }", 3),
        (" ${inputs.n}", " 3"),
        ("${inputs.folder}", "docs"),
        ("in ${inputs.folder}/x", "in docs/x"),
        ("${inputs.folder}${inputs.n}", "docs3"),
        ("all: ${each[*].text}", 'all: ["A", "B"]'),
        ("${length(each)}", 2),
        ("${list.error}", None),
        ("${list.structured.nothing}", None),
        ("error: ${list.error}", "error: null"),
        ("${list.error || 'none'}", "none"),
        ("${each | [0].text}", "A"),
        ("${sort_by(list.structured.notes, &size)[0].name}", "b"),
        ("${{a: inputs.n, b: {c: inputs.folder}}}", {"a": 3, "b": {"c": "docs"}}),
        ("x${{a: inputs.n}}y", 'x{"a": 3}y'),
        ("${'}'}", "}"),
        ("${'it\\'s }'}", "it's }"),
        ('${`"}"`}', "}"),
        ('${`{"a": "\\`}"}`}', {"a": "`}"}),
        ('${list."text"}', "a\nb"),
        ("$${inputs.n}", "${inputs.n}"),
        ("a$${b}${inputs.n}", "a${b}3"),
        ("${inputs.n}$${x}", "3${x}"),
        ("$$${inputs.n}", "$${inputs.n}"),
        ("${'$'}${inputs.n}", "$3"),
        ("$", "$"),
        ("{}$}{", "{}$}{"),
        ("", ""),
        (7, 7),
        (None, None),
    ],
)
def test_a_reference_is_replaced_by_its_value(text, value):
    result = resolve(text, SCOPE)
    assert result == value
    assert type(result) is type(value)


def test_nested_values_are_resolved_and_keys_are_left_alone():
    value = {"${inputs.n}": ["${inputs.n}", {"x": "${inputs.folder}"}, True]}
    assert resolve(value, SCOPE) == {"${inputs.n}": [3, {"x": "docs"}, True]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${a.b.c}", {"a"}),
        ("${a.b} and ${c}", {"a", "c"}),
        ("${a[0].b}", {"a"}),
        ("${a[?b > `1`].c}", {"a"}),
        ("${a[*].b | [0]}", {"a"}),
        ("${a.b[].c}", {"a"}),
        ("${a[1:3].b}", {"a"}),
        ("${a.*.b}", {"a"}),
        ("${[a.x, b]}", {"a", "b"}),
        ("${a.[x, y]}", {"a"}),
        ("${{p: a.x, q: b}}", {"a", "b"}),
        ("${a.{p: x}}", {"a"}),
        ("${sort_by(a.b, &c)}", {"a"}),
        ("${map(&join(',', d), a)}", {"a"}),
        ("${join(b, a[*].x)}", {"a", "b"}),
        ("${a || b && !c}", {"a", "b", "c"}),
        ("${a == b}", {"a", "b"}),
        ("${@.a}", {"a"}),
        ("${@ | a.b}", {"a"}),
        ("${a | @.b}", {"a"}),
        ("${a[?@ == `1`]}", {"a"}),
        ('${"a-b".c}', {"a-b"}),
        ("${`1`}", set()),
        ("${'a.b'}", set()),
        ("$${a}", set()),
        ("a", set()),
        ({"a": ["${b}", {"${x}": "${c}"}], "d": 1}, {"b", "c"}),
    ],
)
def test_the_names_are_those_that_the_expression_takes_from_the_scope(text, expected):
    assert names(text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${", "bad reference in '${', character 1: it lacks its }"),
        ("ab ${x", "bad reference in 'ab ${x', character 4: it lacks its }"),
        ("${'x}", "bad reference in \"${'x}\", character 1: the quote ' is never closed"),
        ("${}", "bad reference in '${}', character 3: it is empty"),
        ("${ }", "bad reference in '${ }', character 4: it ends too early"),
        ("${a.}", "bad reference in '${a.}', character 5: Expecting: "),
        ("${a b}", "bad reference in '${a b}', character 5: Unexpected token: b"),
        ("${a} ${b = c}", "bad reference in '${a} ${b = c}', character 10: Unknown token '='"),
        ("${a#}", "bad reference in '${a#}', character 4: Unknown token #"),
        ("${@}", "it uses the whole scope (@ or *); name the inputs and operations that are meant"),
        ("${*.x}", "it uses the whole scope"),
        ("${keys(@)}", "it uses the whole scope"),
        ("${[@]}", "it uses the whole scope"),
        ("${@ || a}", "it uses the whole scope"),
        ("${lenght(a)}", "it calls the unknown function lenght(). Did you mean 'length'?"),
        ("${zzz(a)}", "it calls the unknown function zzz()."),
        ("${length(a, b)}", "it gives length() 2 arguments; it takes 1"),
        ("${not_null()}", "it gives not_null() 0 arguments; it takes at least 1"),
        ("${sort_by(a, b)}", "it calls sort_by() with an & expression misplaced"),
        ("${not_null(a, &b)}", "it calls not_null() with an & expression misplaced"),
        ("${&a}", "it has an & expression that is no argument of a function"),
        ("${" + "(" * 5000 + "a" + ")" * 5000 + "}", "it nests too deeply"),
    ],
)
def test_a_bad_reference_is_refused_with_its_place(text, problem):
    with pytest.raises(GraphError) as caught:
        names(text)
    assert problem in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(OperationError) as at_run_time:
        resolve(text, SCOPE)
    assert at_run_time.value.kind == "reference"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${nothing.text}", "${nothing.text}: there is no value for 'nothing'"),
        ("${item}", "${item}: there is no value for 'item'"),
        ("${length(inputs.n)}", "${length(inputs.n)}: In function length(), invalid type"),
        ("${inputs.n < inputs.folder}", "${inputs.n < inputs.folder}: '<' not supported"),
        ("${sum(each[*].text)}", "${sum(each[*].text)}: In function sum(), invalid type"),
    ],
)
def test_a_reference_that_the_data_cannot_satisfy_fails_the_operation(text, message):
    with pytest.raises(OperationError) as caught:
        resolve({"x": [text]}, SCOPE)
    assert caught.value.kind == "reference"
    assert caught.value.message.startswith(message)


def test_a_foreach_is_evaluated_to_the_value_itself():
    assert evaluate("${list.structured.notes[*].name}", SCOPE) == ["a", "b"]
    for text in ("x${list}", "list", "$${list}"):
        with pytest.raises(OperationError, match=r"must be exactly one \$\{…\}"):
            evaluate(text, SCOPE)


def test_a_text_is_a_single_reference_only_as_a_whole():
    assert single("${a.b}").names == {"a"}
    for text in ("${a}${b}", " ${a}", "$${a}", "a", ""):
        assert single(text) is None


PIECES = st.one_of(
    st.text(alphabet="ab {}'\"`.,\n", max_size=6).map(lambda text: (text, text)),
    st.just(("$${", "${")),
    st.sampled_from(
        ["inputs.folder", "inputs.n", "each[*].text", "list.structured", "{a: inputs.n}", "'}'"]
    ).map(lambda expression: ("${" + expression + "}", jmespath.search(expression, SCOPE))),
)


@given(st.lists(PIECES, max_size=6))
def test_a_longer_text_is_its_pieces_one_after_the_other(pieces):
    written = "".join(text for text, _ in pieces)
    values = [value for text, value in pieces if text]
    if len(values) == 1:
        assert resolve(written, SCOPE) == values[0]
    else:
        parts = (value if isinstance(value, str) else json.dumps(value) for value in values)
        assert resolve(written, SCOPE) == "".join(parts)


ATOMS = st.sampled_from(["a", "b", "c", "a.b", "b[0]", "c.x[*].y", "'s'", "`1`"])
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} || {pair[1]})"),
        st.tuples(inner, inner).map(lambda pair: f"[{pair[0]}, {pair[1]}]"),
        st.tuples(inner, inner).map(lambda pair: f"{{p: {pair[0]}, q: {pair[1]}}}"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} | {pair[1]})"),
        st.tuples(inner, inner).map(lambda pair: f"{pair[0]} == {pair[1]}"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]})[?{pair[1]}]"),
        inner.map(lambda one: f"not_null({one}, b)"),
        inner.map(lambda one: f"map(&{one}, c)"),
    ),
    max_leaves=6,
)


class Watched(dict):
    """A scope that remembers what was asked of it."""

    asked: set

    def get(self, key, default=None):
        self.asked.add(key)
        return super().get(key, default)


@given(EXPRESSIONS)
def test_evaluating_never_asks_the_scope_for_a_name_that_was_not_told(expression):
    scope = Watched(a={"b": 1}, b=[1, 2], c=[{"x": [{"y": 1}]}])
    scope.asked = set()
    with suppress(jmespath.exceptions.JMESPathError):
        jmespath.search(expression, scope)
    assert scope.asked <= names("${" + expression + "}") <= {"a", "b", "c"}
