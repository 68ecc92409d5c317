import copy
import gc
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omx_tasks.errors import GraphError
from omx_tasks.graph.model import Graph, Input, Operation, bind_inputs
from omx_tasks.priorities import Priority

EXAMPLE = """
name: notes-brief
description: What the notes say
inputs: {folder: {default: "."}, limit: {type: integer}}
operations:
  - id: list
    server: notes
    tool: list_notes
    arguments: {folder: "${inputs.folder}", at: 14:30}
    priority: P1
    timeout: 30
    retries: 0
    expect: 0.5
  - id: page
    server: notes
    resource: notes://${inputs.folder}/index
    needs: [list]
  - id: each
    server: notes
    prompt: summarise
    foreach: "${list.structured.notes}"
    arguments: {name: "${item.name}"}
    requires: [writing, documentation_review]
    on_failure: continue
"""


def problems(text, source="g.yaml"):
    with pytest.raises(GraphError) as caught:
        Graph.parse(text, source)
    assert "pydantic" not in str(caught.value)
    return str(caught.value).splitlines()


def operation_problems(**keys):
    given = {"id": "a", "server": "s", "tool": "t"} | keys
    with pytest.raises(GraphError) as caught:
        Operation(**{key: value for key, value in given.items() if value is not None})
    return str(caught.value).splitlines()


def test_a_graph_file_becomes_operations_with_defaults_for_what_it_leaves_out():
    graph = Graph.parse(EXAMPLE)
    first, page, each = graph.operations
    assert (graph.name, graph.description) == ("notes-brief", "What the notes say")
    assert (first.kind, first.target, first.priority) == ("tool", "list_notes", Priority.P1)
    assert (first.timeout, first.retries, first.expect) == (30, 0, 0.5)
    assert first.arguments == {"folder": "${inputs.folder}", "at": "14:30"}
    assert (page.kind, page.target) == ("resource", "notes://${inputs.folder}/index")
    assert (page.priority, page.timeout, page.retries, page.expect) == (Priority.P2, 60, 2, None)
    assert (page.needs, page.on_failure, page.foreach) == (("list",), "fail", None)
    assert (each.kind, each.target, each.on_failure) == ("prompt", "summarise", "continue")


def test_the_capabilities_of_an_operation_are_sorted_and_include_its_server():
    assert Graph.parse(EXAMPLE).operations[2].capabilities == (
        "documentation_review",
        "server:notes",
        "writing",
    )


def test_a_graph_is_written_in_python_with_plain_lists():
    graph = Graph(
        name="x",
        inputs={"folder": Input(default=".")},
        operations=[
            Operation(id="a", server="s", tool="t", priority="P0", arguments={"pair": (1, 2)}),
            Operation(id="b", server="s", tool="t", priority=Priority.P3, needs=["a"]),
        ],
    )
    assert graph == Graph.from_data(
        {
            "name": "x",
            "inputs": {"folder": {"default": "."}},
            "operations": [
                {"id": "a", "server": "s", "tool": "t", "priority": "P0",
                 "arguments": {"pair": [1, 2]}},
                {"id": "b", "server": "s", "tool": "t", "priority": "P3", "needs": ["a"]},
            ],
        }
    )  # fmt: skip


def test_a_graph_survives_being_written_as_data_and_defaults_are_left_out():
    graph = Graph.parse(EXAMPLE)
    data = json.loads(json.dumps(graph.to_data()))
    assert Graph.from_data(data) == graph
    assert data["operations"][1] == {
        "id": "page",
        "server": "notes",
        "resource": "notes://${inputs.folder}/index",
        "needs": ["list"],
    }
    assert data["operations"][0]["priority"] == "P1"
    assert data["inputs"] == {"folder": {"default": "."}, "limit": {"type": "integer"}}


def test_an_input_whose_default_is_null_stays_optional_when_written_as_data():
    graph = Graph(name="x", inputs={"a": Input(default=None), "b": Input()}, operations=[])
    again = Graph.from_data(graph.to_data())
    assert [again.inputs[name].required for name in "ab"] == [False, True]


def test_a_graph_is_loaded_from_a_file_in_either_language(tmp_path):
    graph = Graph.parse(EXAMPLE)
    (tmp_path / "g.yaml").write_text("\ufeff" + EXAMPLE, encoding="utf-8")
    (tmp_path / "g.json").write_text(json.dumps(graph.to_data()))
    assert Graph.load(tmp_path / "g.yaml") == Graph.load(str(tmp_path / "g.json")) == graph


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    missing, folder, latin = tmp_path / "no.yaml", tmp_path / "d", tmp_path / "l.yaml"
    folder.mkdir()
    latin.write_bytes(b"name: caf\xe9")
    for path, reason in [
        (missing, "there is no such file"),
        (folder, "cannot be read: Is a directory"),
        (latin, "is not UTF-8 text; save it as UTF-8"),
    ]:
        with pytest.raises(GraphError) as caught:
            Graph.load(path)
        assert str(caught.value) == f"{path}: {reason}"


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"id": "1a"}, "operation '1a': id must be a name of letters, digits and _ that begins "
                       "with no digit, not '1a'"),
        ({"id": "a-b"}, "operation 'a-b': id must be a name of letters, digits and _ that begins "
                        "with no digit, not 'a-b'"),
        ({"id": "a\n"}, "operation 'a\\n': id must be a name of letters, digits and _ that begins "
                        "with no digit, not 'a\\n'"),
        ({"id": "item"}, "operation 'item': id must not be 'item', which references use; "
                         "choose another name"),
        ({"id": 7}, "operation: id must be a name of letters, digits and _ that begins "
                    "with no digit, not 7"),
        ({"server": ""}, "operation 'a': server must be the name of a server in the mcpServers "
                         "file, not ''"),
        ({"server": None}, "operation 'a': key 'server' is missing; give the name of a server in "
                           "the mcpServers file"),
        ({"tool": "read_${x}"}, "operation 'a': tool must be a fixed name, without ${…}; only "
                                "arguments and URIs take references"),
        ({"tool": None, "prompt": "${x}"}, "operation 'a': prompt must be a fixed name, without "
                                           "${…}; only arguments and URIs take references"),
        ({"tool": None}, "operation 'a': give exactly one of tool, resource and prompt; "
                         "found none"),
        ({"resource": "r:"}, "operation 'a': give exactly one of tool, resource and prompt; "
                             "found tool and resource"),
        ({"tool": None, "resource": "r:", "arguments": {"x": 1}},
         "operation 'a': a resource takes no arguments; put them into its URI, or call a tool"),
        ({"arguments": [1]}, "operation 'a': arguments must be a mapping of argument names to "
                             "JSON values, not [1]"),
        ({"arguments": {"x": {1}}}, "operation 'a': arguments holds {1} at x, which is not JSON; "
                                    "use text, numbers, true, false, null, lists and mappings"),
        ({"needs": "b"}, "operation 'a': needs must be a list of operation ids, not 'b'"),
        ({"needs": [1, 2]}, "operation 'a': needs must be a list of operation ids, not [1, 2]"),
        ({"requires": [""]}, "operation 'a': requires must be a list of capabilities, not ['']"),
        ({"priority": "P4"}, "operation 'a': priority must be P0, P1, P2 or P3, not 'P4'"),
        ({"priority": 1}, "operation 'a': priority must be P0, P1, P2 or P3, not 1"),
        ({"timeout": 0}, "operation 'a': timeout must be a number of seconds above 0, not 0"),
        ({"timeout": "30"}, "operation 'a': timeout must be a number of seconds above 0, "
                            "not '30'"),
        ({"timeout": True}, "operation 'a': timeout must be a number of seconds above 0, "
                            "not True"),
        ({"timeout": float("inf")}, "operation 'a': timeout must be a number of seconds above 0, "
                                    "not inf"),
        ({"retries": -1}, "operation 'a': retries must be a whole number from 0 up, not -1"),
        ({"retries": 1.5}, "operation 'a': retries must be a whole number from 0 up, not 1.5"),
        ({"expect": -1}, "operation 'a': expect must be a number of seconds from 0 up, not -1"),
        ({"foreach": "x ${b}"}, "operation 'a': foreach must be exactly one ${…} that gives a "
                                "list, not 'x ${b}'"),
        ({"foreach": [1]}, "operation 'a': foreach must be exactly one ${…} that gives a list, "
                           "not [1]"),
        ({"foreach": "${b"}, "operation 'a': foreach holds a bad reference in '${b', character 1: "
                             "it lacks its }"),
        ({"on_failure": "stop"}, "operation 'a': on_failure must be fail or continue, "
                                 "not 'stop'"),
        ({"tmeout": 3}, "operation 'a': unknown key 'tmeout'. Did you mean 'timeout'?"),
        ({"zzz": 3}, "operation 'a': unknown key 'zzz'. Known keys: id, server, tool, resource, "
                     "prompt, arguments, needs, requires, priority, timeout, retries, expect, "
                     "foreach, on_failure, fallback"),
    ],
)  # fmt: skip
def test_a_wrong_key_of_an_operation_is_told_with_what_it_must_be(keys, problem):
    assert operation_problems(**keys) == [problem]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["g.yaml: a graph must be a mapping with name and operations, not None"]),
        ("[1]", ["g.yaml: a graph must be a mapping with name and operations, not [1]"]),
        ("name: x", ["g.yaml: key 'operations' is missing; give a list of operations"]),
        ("operations: []", ["g.yaml: key 'name' is missing; give a text of 1 to 200 characters "
                            "on one line"]),
        ("name: 3\noperations: []", ["g.yaml: name must be a text of 1 to 200 characters on one "
                                     "line, not 3"]),
        ("name: x\noperations: {a: 1}", ["g.yaml: operations must be a list of operations, "
                                         "not {'a': 1}"]),
        ("name: x\nopertions: []", ["g.yaml: key 'operations' is missing; give a list of "
                                    "operations",
                                    "g.yaml: unknown key 'opertions'. Did you mean 'operations'?"]),
        ("name: x\noperations: [7]", ["g.yaml: operations[0]: must be a mapping with id, server "
                                      "and a tool, resource or prompt, not 7"]),
        ("name: x\noperations: []\ninputs: [a]", ["g.yaml: inputs must be a mapping of names to "
                                                  "inputs, not ['a']"]),
        ("name: x\noperations: []\ninputs: {a: .}",
         ["g.yaml: input 'a': must be a mapping: write a: {default: …}, or a: {} where it is "
          "required"]),
        ("name: x\noperations: []\ninputs: {a-b: {}}",
         ["g.yaml: inputs must be a mapping from names (letters, digits and _, no digit first) "
          "to inputs, not {'a-b': {}}"]),
        ("name: x\noperations: []\ninputs: {a: {defalt: 1}}",
         ["g.yaml: input 'a': unknown key 'defalt'. Did you mean 'default'?"]),
        ("name: x\noperations: []\ninputs: {a: {type: text}}",
         ["g.yaml: input 'a': type must be string, number, integer, boolean, array or object, "
          "not 'text'"]),
        ("name: x\noperations: []\ninputs: {a: {type: integer, default: '3'}}",
         ["g.yaml: input 'a': default must be of type integer, not '3'"]),
        ("name: x\n1: 2", ["g.yaml: the graph has the key 1, which is not text; put it in quotes"]),
        ("a: 1\na: 1", ["g.yaml: line 2, column 1: not valid YAML or JSON: key 'a' is given twice "
                        "in one mapping; keep one"]),
    ],
)  # fmt: skip
def test_a_wrong_graph_is_told_with_its_source(text, expected):
    assert problems(text) == expected


def test_all_problems_of_all_operations_are_told_at_once_one_per_line():
    text = """
name: x
operations:
  - {id: a, server: s, tool: t, timeout: -1, retries: -1}
  - {server: s, tool: t, resource: r}
  - {id: c, server: s, tool: t}
"""
    assert problems(text) == [
        "g.yaml: operation 'a': timeout must be a number of seconds above 0, not -1",
        "g.yaml: operation 'a': retries must be a whole number from 0 up, not -1",
        "g.yaml: operations[1]: key 'id' is missing; give a name of letters, digits and _ that "
        "begins with no digit",
        "g.yaml: operations[1]: give exactly one of tool, resource and prompt; found tool and "
        "resource",
    ]


def test_a_copy_with_changed_arguments_is_checked_and_refers_to_other_operations():
    before = Operation(id="a", server="s", tool="t", arguments={"x": "${b.text}"})
    assert before.referred == {"b"}
    after = before.model_copy(update={"arguments": {"x": "${c.text}"}})
    assert after.referred == {"c"}
    with pytest.raises(GraphError, match="timeout must be"):
        before.model_copy(update={"timeout": -1})


def test_what_an_operation_refers_to_is_no_part_of_its_identity():
    used, fresh = (Operation(id="a", server="s", tool="t", foreach="${b.content}") for _ in "ab")
    assert used.element_path == ("b", "content", None)
    assert used == fresh
    assert used.model_dump() == fresh.model_dump()
    assert pickle.loads(pickle.dumps(used)) == copy.deepcopy(used) == fresh


def graph_with(**inputs):
    return Graph(name="x", inputs=inputs, operations=[])


def test_inputs_are_the_given_values_or_the_defaults():
    graph = graph_with(a={"default": 1}, b={}, c={"default": None})
    assert bind_inputs(graph, {"b": "two"}) == {"a": 1, "b": "two", "c": None}


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        ("integer", "3", 3),
        ("number", "3", 3),
        ("number", "2.5", 2.5),
        ("boolean", "true", True),
        ("array", "[1, 2]", [1, 2]),
        ("object", '{"a": 1}', {"a": 1}),
        ("string", "3", "3"),
        ("string", "", ""),
        (None, "3", "3"),
        ("integer", 3, 3),
        ("array", (1, 2), [1, 2]),
    ],
)
def test_a_text_becomes_a_value_of_the_declared_type(kind, given, value):
    result = bind_inputs(graph_with(a={"type": kind}), {"a": given})["a"]
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("default", "given", "value"),
    [
        (3, "4", 4),
        (3, "4.5", 4.5),
        (0.5, "2", 2),
        (False, "true", True),
        ([], '["a"]', ["a"]),
        ({}, '{"a": 1}', {"a": 1}),
        (3, "all", "all"),
        (3, "true", "true"),
        (False, "1", "1"),
        (".", "3", "3"),
        (None, "3", "3"),
        (3, [1], [1]),
    ],
)
def test_without_a_type_a_text_becomes_what_the_default_is_where_it_can(default, given, value):
    result = bind_inputs(graph_with(a={"default": default}), {"a": given})["a"]
    assert result == value
    assert type(result) is type(value)


def test_a_wrong_input_is_told_with_its_source():
    with pytest.raises(GraphError, match=r"^g\.yaml: unknown input 'b'"):
        bind_inputs(graph_with(a={"default": 1}), {"b": 1}, "g.yaml")


@pytest.mark.parametrize(
    ("kind", "given", "problem"),
    [
        ("integer", "3.5", "must be of type integer (written as JSON), not '3.5'"),
        ("integer", "true", "must be of type integer (written as JSON), not 'true'"),
        ("number", "three", "must be of type number (written as JSON), not 'three'"),
        ("number", "NaN", "must be of type number (written as JSON), not 'NaN'"),
        ("boolean", "True", "must be of type boolean (written as JSON), not 'True'"),
        ("array", "[1", "must be of type array (written as JSON), not '[1'"),
        ("array", "[" * 100_000, "must be of type array (written as JSON), not '"
                             + "[" * 56 + "..."),
        ("string", 3, "must be of type string, not 3"),
        ("integer", False, "must be of type integer (written as JSON), not False"),
        (None, {1}, "holds {1}, which is not JSON; use text, numbers, true, false, null, lists "
                    "and mappings"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_its_type_is_refused(kind, given, problem):
    with pytest.raises(GraphError) as caught:
        bind_inputs(graph_with(a={"type": kind}), {"a": given})
    assert str(caught.value) == f"graph 'x': input 'a' {problem}"


def test_missing_and_unknown_inputs_are_told_together():
    with pytest.raises(GraphError) as caught:
        bind_inputs(graph_with(folder={}, other={"default": 1}), {"foldr": ".", "zzz": 1})
    assert str(caught.value).splitlines() == [
        "graph 'x': unknown input 'foldr'. Did you mean 'folder'?",
        "graph 'x': unknown input 'zzz'. Known inputs: folder, other",
        "graph 'x': input 'folder' is missing and has no default; give it (--input folder=VALUE)",
    ]


def test_an_input_for_a_graph_without_inputs_is_refused():
    with pytest.raises(GraphError, match=r"unknown input 'a'\. The graph has no inputs"):
        bind_inputs(graph_with(), {"a": 1})


@given(st.text(max_size=300))
def test_no_text_whatever_gives_anything_but_a_graph_or_a_graph_error(text):
    try:
        Graph.parse(text)
    except GraphError as error:
        assert str(error).startswith("<text>: ")


def test_the_collector_of_cycles_is_as_it_was_after_a_graph_was_read_or_refused():
    text = json.dumps({"name": "x", "operations": [{"id": "a", "server": "s", "tool": "t"}]})
    for was in (True, False):
        (gc.enable if was else gc.disable)()
        try:
            Graph.parse(text)
            with pytest.raises(GraphError):
                Graph.parse("{}")
            assert gc.isenabled() is was
        finally:
            gc.enable()


@pytest.mark.parametrize("timeout", [0, -1, "30", True, float("inf")])
def test_the_timeout_of_a_graph_is_a_number_of_seconds_above_0(timeout: object) -> None:
    call = Operation(id="a", server="s", tool="t")
    assert Graph(name="g", timeout=2.5, operations=[call]).to_data()["timeout"] == 2.5
    with pytest.raises(GraphError, match="timeout must be a number of seconds above 0"):
        Graph(name="g", timeout=timeout, operations=[call])
