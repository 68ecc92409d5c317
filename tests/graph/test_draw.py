from omx_tasks.graph.draw import mermaid, text
from omx_tasks.graph.model import Graph, Operation
from omx_tasks.graph.plan import compile_plan

PLAN = compile_plan(
    Graph(
        name="x",
        operations=[
            Operation(id="list", server="notes", tool="list_notes", expect=0.5),
            Operation(id="now", server="time", tool="now", needs=["list"]),
            Operation(id="each", server="notes", prompt="sum", foreach="${list.structured}"),
            Operation(id="end", server="notes", resource='n://"<&>"', needs=["now", "each"]),
        ],
    )
)


def test_the_table_shows_what_each_operation_calls_needs_and_is_released_with():
    assert text(PLAN).splitlines() == [
        "id    calls                      needs      lasts             rank    released with",
        "list  notes tool list_notes      -          0.50 s (expect)   2.50 s  -",
        "now   time tool now              list       1.00 s (assumed)  2.00 s  each",
        "each  notes prompt sum for each  list       1.00 s (assumed)  2.00 s  now",
        'end   notes resource n://"<&>"   now, each  1.00 s (assumed)  1.00 s  -',
    ]


def test_many_names_are_shortened_in_the_table():
    wide = [Operation(id=f"o{n}", server="s", tool="t") for n in range(9)]
    assert text(compile_plan(Graph(name="x", operations=wide))).splitlines()[1] == (
        "o0  s tool t  -      1.00 s (assumed)  1.00 s  o1, o2, o3, o4 and 4 more"
    )


def test_the_diagram_tells_data_from_order_and_escapes_what_mermaid_would_read():
    assert mermaid(PLAN).splitlines() == [
        "flowchart LR",
        '    n0["list<br/>notes tool list_notes"]',
        '    n1["now<br/>time tool now"]',
        '    n2[["each<br/>notes prompt sum for each"]]',
        '    n3["end<br/>notes resource n://&quot;&lt;&amp;&gt;&quot;"]',
        "    n0 -.-> n1",
        "    n0 --> n2",
        "    n1 -.-> n3",
        "    n2 -.-> n3",
    ]
