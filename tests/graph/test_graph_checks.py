import re

import pytest

from omx_tasks.errors import GraphError
from omx_tasks.graph.checks import MOST_PROBLEMS, check
from omx_tasks.graph.model import Graph, Operation

NOTES = {
    "tools": [
        {
            "name": "list_notes",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "folder": {"type": "string"},
                    "limit": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]},
                    "order": {"enum": ["name", "size"]},
                    "filter": {"$ref": "#/$defs/Filter"},
                },
                "$defs": {"Filter": {"type": "object", "properties": {"on": {"type": "boolean"}}}},
                "required": ["folder"],
                "additionalProperties": False,
            },
            "outputSchema": {
                "type": "object",
                "properties": {
                    "notes": {"type": "array", "items": {"$ref": "#/$defs/Note"}},
                    "more": {"type": "object", "additionalProperties": True},
                    "best": {"anyOf": [{"$ref": "#/$defs/Note"}, {"type": "null"}]},
                },
                "$defs": {
                    "Note": {
                        "type": "object",
                        "properties": {
                            "name": {"type": "string"},
                            "links": {"type": "array", "items": {"$ref": "#/$defs/Note"}},
                        },
                    }
                },
            },
        },
        {"name": "open_ended", "inputSchema": {"type": "object", "required": ["path"]}},
        {"name": "broken", "inputSchema": {"type": "nonsense"}},
        {"name": "remote", "inputSchema": {"properties": {"a": {"$ref": "https://x.invalid/s"}}}},
    ],
    "prompts": [
        {"name": "brief", "arguments": [{"name": "text", "required": True}, {"name": "tone"}]},
        {"name": "bare"},
    ],
}


def tool(name, *needs, server="notes", **keys):
    keys.setdefault("tool", "list_notes") if not {"prompt", "resource"} & set(keys) else None
    return Operation(id=name, server=server, needs=needs, **keys)


def problems(*operations, inputs=None, **keys):
    with pytest.raises(GraphError) as caught:
        check(Graph(name="x", inputs=inputs or {}, operations=operations), **keys)
    return str(caught.value).splitlines()


def sound(*operations, inputs=None, **keys):
    check(Graph(name="x", inputs=inputs or {}, operations=operations), **keys)


def listing(**arguments):
    return tool("list", arguments={"folder": "."} | arguments)


def reading(**arguments):
    return tool("read", server="other", arguments=arguments)


def test_a_sound_graph_passes_with_and_without_a_catalogue():
    operations = [
        listing(limit=3),
        tool("now", "list", server="time", tool="now"),
        tool("each", foreach="${list.structured.notes}",
             arguments={"folder": "${item.name}", "limit": "${index}"}),
        tool("brief", prompt="brief",
             arguments={"text": "${each[*].text} ${now.text} ${inputs.folder}"}),
        tool("page", resource="notes://${each[0].error.message}/${inputs.folder}"),
    ]  # fmt: skip
    sound(*operations, inputs={"folder": {}})
    sound(*operations, inputs={"folder": {}}, servers={"notes", "time"},
          catalogue={"notes": NOTES, "time": None})  # fmt: skip


def test_an_empty_graph_is_refused():
    assert problems() == ["the graph has no operations; add one"]


def test_equal_ids_are_refused():
    assert problems(tool("a"), tool("b"), tool("a")) == [
        "operation 'a' is given 2 times; ids must differ"
    ]


def test_each_line_names_the_source():
    lines = problems(tool("a", "x"), tool("b", "x"), source="g.yaml")
    assert [line.split(": ")[:2] for line in lines] == [
        ["g.yaml", "operation 'a'"],
        ["g.yaml", "operation 'b'"],
    ]


@pytest.mark.parametrize(
    ("operation", "problem"),
    [
        (tool("a", "lst"), "needs 'lst', which is no operation of this graph. "
                           "Did you mean 'list'?"),
        (tool("a", "inputs"), "needs 'inputs', which is no operation of this graph."),
        (tool("a", "a"), "needs itself"),
        (tool("a", arguments={"x": "${a.text}"}), "refers to itself"),
        (tool("a", arguments={"x": "${lst.text}"}), "refers to 'lst', which is no operation of "
                                                    "this graph. Did you mean 'list'?"),
        (tool("a", arguments={"x": "${input.folder}"}), "refers to 'input', which is no operation "
                                                        "of this graph. Did you mean 'inputs'?"),
        (tool("a", resource="r:${qqq.text}"), "refers to 'qqq', which is no operation of this "
                                              "graph."),
        (tool("a", foreach="${lst.content}"), "refers to 'lst', which is no operation of this "
                                              "graph. Did you mean 'list'?"),
        (tool("a", arguments={"x": "${inputs.foldr}"}), "refers to the unknown input 'foldr'. "
                                                        "Did you mean 'folder'?"),
        (tool("a", arguments={"x": "${inputs.zzz}"}), "refers to the unknown input 'zzz'. "
                                                      "Known inputs: folder"),
        (tool("a", arguments={"x": "${item.name}"}), "refers to 'item', which exists only with a "
                                                     "foreach"),
        (tool("a", arguments={"x": "${index}"}), "refers to 'index', which exists only with a "
                                                 "foreach"),
        (tool("a", foreach="${item.x}"), "foreach refers to 'item', which exists only in its "
                                         "arguments"),
        (tool("a", arguments={"x": "${list.txt}"}), "refers to 'txt' of 'list', which there is "
                                                    "not. Did you mean 'text'?"),
        (tool("a", arguments={"x": "${list.notes}"}), "refers to 'notes' of 'list', which there "
                                                      "is not. It has: text, structured, content, "
                                                      "error"),
        (tool("a", arguments={"x": "${list[0].text}"}), "takes 'list' for a list, which it is not "
                                                        "without a foreach"),
        (tool("a", foreach="${list}"), "takes 'list' for a list, which it is not without a "
                                       "foreach"),
        (tool("a", arguments={"x": "${many.text}"}), "refers to many.text, but 'many' has a "
                                                     "foreach, so it is a list; write "
                                                     "many[*].text"),
        (tool("a", arguments={"x": "${many[*].txt}"}), "refers to 'txt' of 'many', which there is "
                                                       "not. Did you mean 'text'?"),
        (tool("a", foreach="${many}", arguments={"x": "${item.txt}"}),
         "refers to 'txt' of 'many', which there is not. Did you mean 'text'?"),
        (tool("a", arguments={"x": ["y ${b c}"]}), "bad reference in 'y ${b c}', character 7: "
                                                   "Unexpected token: c"),
    ],
)  # fmt: skip
def test_a_wrong_need_or_reference_is_told_with_its_operation(operation, problem):
    lines = problems(
        listing(),
        tool("many", foreach="${list.content}"),
        operation,
        inputs={"folder": {"default": "."}},
    )
    assert lines == [f"operation 'a': {problem}"]


def test_an_input_of_a_graph_without_inputs_is_refused():
    assert problems(tool("a", arguments={"x": "${inputs.y}"})) == [
        "operation 'a': refers to the unknown input 'y'. The graph has no inputs"
    ]


def test_an_unknown_server_is_told_with_the_known_ones():
    assert problems(tool("a", server="nots"), servers=["time", "notes"]) == [
        "operation 'a': unknown server 'nots'. Did you mean 'notes'? Known servers: notes, time"
    ]
    assert problems(tool("a", server="x"), servers=[]) == [
        "operation 'a': unknown server 'x'. Known servers: none"
    ]


def test_a_cycle_is_printed_as_a_path_through_needs_and_references():
    assert problems(
        tool("start"),
        tool("tail", "a"),
        tool("a", "start", "b"),
        tool("b", arguments={"x": "${c[*].text}"}),
        tool("c", foreach="${a.structured}"),
        tool("d", "zzz", arguments={"x": "${y z}"}),
    ) == [
        "operation 'd': needs 'zzz', which is no operation of this graph.",
        "operation 'd': bad reference in '${y z}', character 5: Unexpected token: z",
        "these operations wait for each other: a → b → c → a; drop one of these needs or "
        "references",
    ]  # fmt: skip


def test_a_fallback_has_to_be_another_operation_that_nothing_else_waits_for():
    assert problems(
        tool("a", fallback="zzz"),
        tool("b", fallback="b"),
        tool("c", fallback="f"),
        tool("d", "f", fallback="f"),
        tool("e", arguments={"x": "${f.text}"}),
        tool("f", "c", arguments={"x": "${d.error}"}),
        tool("g", fallback="h"),
        tool("h", foreach="${a.structured}"),
    )[:-1] == [
        "operation 'a': has the fallback 'zzz', which is no operation of this graph.",
        "operation 'b': has the fallback itself",
        "operation 'd': waits for 'f', the fallback of 'c'; write 'c', which stands for both",
        "operation 'd': waits for 'f', the fallback of 'd'; write 'd', which stands for both",
        "operation 'e': waits for 'f', the fallback of 'c'; write 'c', which stands for both",
        "operation 'e': waits for 'f', the fallback of 'd'; write 'd', which stands for both",
        "operation 'f': is the fallback of c and d; it can be that of one only",
        "operation 'h': is the fallback of 'g', and takes no foreach",
    ]


def test_a_fallback_that_waits_for_what_waits_for_it_is_a_cycle():
    assert problems(tool("a", fallback="f"), tool("f", "b"), tool("b", "a")) == [
        "these operations wait for each other: f → b → f; drop one of these needs or references"
    ]
    assert problems(tool("a", fallback="f"), tool("f", fallback="g"), tool("g", fallback="a"))


def test_a_cycle_of_ten_thousand_operations_is_found():
    ring = [tool(f"o{n}", f"o{(n + 1) % 10_000}") for n in range(10_000)]
    (line,) = problems(*ring)
    assert line.startswith("these operations wait for each other: o0 → o1 → ")
    assert line.endswith(" → o9999 → o0; drop one of these needs or references")
    assert " → o19 → (9,961 more) → o9981 → " in line


def test_a_hopeless_graph_is_answered_soon_with_its_first_problems():
    operations = [tool(f"o{n}", f"p{n}") for n in range(2000)]
    lines = problems(*operations)
    assert len(lines) == MOST_PROBLEMS + 1
    assert lines[-1] == "there are more problems; mend these first"


@pytest.mark.parametrize(
    ("operation", "problem"),
    [
        (tool("a", tool="list_note", arguments={"folder": "."}),
         "server 'notes' has no tool 'list_note'. Did you mean 'list_notes'?"),
        (tool("a", tool="zzz"),
         "server 'notes' has no tool 'zzz'. It has: list_notes, open_ended, broken, remote"),
        (tool("a", prompt="breif", arguments={"text": "x"}),
         "server 'notes' has no prompt 'breif'. Did you mean 'brief'?"),
        (tool("a", arguments={}), "tool 'list_notes' requires the argument 'folder'; add it"),
        (
            tool("a", tool="open_ended", arguments={"pth": "x"}),
            "tool 'open_ended' requires the argument 'path'; add it, or is 'pth' meant for it?",
        ),
        (tool("a", tool="open_ended"), "tool 'open_ended' requires the argument 'path'; add it"),
        (tool("a", prompt="brief"), "prompt 'brief' requires the argument 'text'; add it"),
        (tool("a", prompt="brief", arguments={"text": "x", "tne": "y"}),
         "prompt 'brief' has no argument 'tne'. Did you mean 'tone'?"),
        (tool("a", prompt="bare", arguments={"x": "y"}),
         "prompt 'bare' has no argument 'x'. It takes: none"),
        (tool("a", arguments={"folder": ".", "limt": 3}),
         "tool 'list_notes' has no argument 'limt'. Did you mean 'limit'?"),
        (tool("a", arguments={"folder": ".", "zzz": "${inputs.x}"}),
         "tool 'list_notes' has no argument 'zzz'. It takes: folder, limit, order, filter"),
        (tool("a", arguments={"folder": 3}),
         "argument 'folder' of tool 'list_notes' must be string, not 3"),
        (tool("a", arguments={"folder": ".", "order": "date"}),
         "argument 'order' of tool 'list_notes' must be one of ['name', 'size'], not 'date'"),
        (tool("a", arguments={"folder": ".", "filter": {"on": "yes"}}),
         "argument 'filter.on' of tool 'list_notes' must be boolean, not 'yes'"),
        (tool("a", arguments={"folder": ".", "limit": 0}),
         "argument 'limit' of tool 'list_notes' does not fit its schema: 0 is less than the "
         "minimum of 1"),
        (tool("a", arguments={"folder": ".", "order": "nme"}),
         "argument 'order' of tool 'list_notes' must be one of ['name', 'size'], not 'nme'. "
         "Did you mean 'name'?"),
    ],
)  # fmt: skip
def test_a_call_is_held_against_the_servers_catalogue(operation, problem):
    lines = problems(operation, inputs={"x": {}}, catalogue={"notes": NOTES})
    assert lines == [f"operation 'a': {problem}"]


@pytest.mark.parametrize(
    "operation",
    [
        listing(limit=None, order="size", filter={"on": True}),
        listing(order="${inputs.x}", limit="${inputs.x}"),
        listing(filter={"on": "${inputs.x}"}),
        tool("a", tool="open_ended", arguments={"path": 1, "more": 2}),
        tool("a", tool="broken", arguments={"x": 1}),
        tool("a", tool="remote", arguments={"a": 1}),
        tool("a", resource="anything:"),
        tool("a", prompt="bare"),
        tool("a", server="elsewhere", tool="zzz"),
    ],
)
def test_what_is_not_certainly_wrong_passes_the_catalogue(operation):
    sound(operation, inputs={"x": {}}, catalogue={"notes": NOTES, "other": None})


def test_a_list_that_the_catalogue_lacks_is_unknown_not_empty():
    sound(tool("a", tool="zzz"), tool("b", prompt="zzz"), catalogue={"notes": {}})


def test_an_escaped_reference_counts_as_the_text_that_it_will_be():
    schema = {"properties": {"a": {"type": "string", "maxLength": 4}}}
    catalogue = {"notes": {"tools": [{"name": "t", "inputSchema": schema}]}}
    sound(tool("a", tool="t", arguments={"a": "$${x}"}), catalogue=catalogue)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${list.structured.nots}", "no field 'nots' in list.structured. Did you mean 'notes'?"),
        ("${list.structured.zzz.y}", "no field 'zzz' in list.structured. "
                                     "It has: best, more, notes"),
        ("${list.structured.notes[*].nme}", "no field 'nme' in list.structured.notes[]. "
                                            "Did you mean 'name'?"),
        ("${list.structured.notes[?name == 'a'].zzz}", "no field 'zzz' in "
                                                       "list.structured.notes[]. It has: links, "
                                                       "name"),
        ("${list.structured.notes[0].links[1].links[0].nam}",
         "no field 'nam' in list.structured.notes[].links[].links[]. Did you mean 'name'?"),
        ("${list.structured.notes.name}", "no field 'name' in list.structured.notes."),
        ("${list.structured.best.nme}", "no field 'nme' in list.structured.best. "
                                        "Did you mean 'name'?"),
        ("${list.structured.best[0]}", "no list in list.structured.best. It has: links, name"),
    ],
)  # fmt: skip
def test_a_reference_is_held_against_the_output_schema(text, problem):
    start = "operation 'read': by the output schema of tool 'list_notes' there is "
    assert problems(listing(), reading(x=text), catalogue={"notes": NOTES}) == [start + problem]


@pytest.mark.parametrize(
    "text",
    [
        "${list.structured}",
        "${list.structured.notes[0].links[*].name}",
        "${list.structured.more.anything.at[0].all}",
        "${list.structured.best.name}",
        "${list.structured.notes[].zzz}",
        "${list.text}",
        "${list.content[0].mimeType}",
        "${list.error.kind}",
        "${open.structured.anything}",
    ],
)
def test_what_the_output_schema_allows_passes(text):
    operations = [listing(), tool("open", tool="open_ended", arguments={"path": 1})]
    sound(*operations, reading(x=text), catalogue={"notes": NOTES})


def test_the_item_of_a_foreach_is_held_against_the_output_schema_too():
    each = tool("each", server="o", foreach="${list.structured.notes}",
                arguments={"x": "${item.nme}"})  # fmt: skip
    (line,) = problems(listing(), each, catalogue={"notes": NOTES})
    assert line.endswith("no field 'nme' in list.structured.notes[]. Did you mean 'name'?")


def test_a_foreach_over_what_is_no_list_is_found_by_the_output_schema():
    each = tool("each", server="o", foreach="${list.structured.more}")
    (line,) = problems(listing(), each, catalogue={"notes": NOTES})
    assert re.search(r"operation 'each': .* there is no list in list.structured.more\.$", line)


def test_the_outputs_of_a_foreach_are_held_against_the_output_schema_item_by_item():
    many = tool("many", foreach="${inputs.folders}", arguments={"folder": "${item}"})
    sound(many, reading(x="${many[*].structured.notes}"), inputs={"folders": {}},
          catalogue={"notes": NOTES})  # fmt: skip
    (line,) = problems(many, reading(x="${many[*].structured.nots}"), inputs={"folders": {}},
                       catalogue={"notes": NOTES})  # fmt: skip
    assert line.endswith("no field 'nots' in many.structured. Did you mean 'notes'?")


def test_a_required_capability_that_is_no_server_is_told_and_other_words_are_not():
    asking = tool("a", arguments={"folder": "."}, requires=["server:nots", "writing"])
    assert problems(asking, servers=["notes"]) == [
        "operation 'a': requires the unknown server 'nots'. Did you mean 'notes'? "
        "Known servers: notes"
    ]
    sound(asking)
