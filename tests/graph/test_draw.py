from omx_tasks.graph.draw import WHY_BATCHED, dot, mermaid, text
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
        "",
        WHY_BATCHED,
        "in each  server:notes  n  its items, once they are known",
    ]


def test_the_table_says_what_is_grouped_and_why():
    operations = [
        Operation(id="a", server="s", tool="t"),
        Operation(id="b", server="s", tool="u", requires=["gpu"]),
        Operation(id="c", server="s", tool="v"),
        *(Operation(id=f"d{n}", server="s", tool="t", needs=["a"]) for n in range(6)),
        Operation(id="e", server="z", tool="t", needs=["a"]),
    ]
    plan = compile_plan(Graph(name="x", operations=operations))
    assert text(plan).partition(WHY_BATCHED)[2].splitlines()[1:] == [
        "at the start  server:s  2  a, c",
        "after a       server:s  6  d0, d1, d2, d3 and 2 more",
    ]
    chain = [
        Operation(id=n, server="s", tool="t", needs=list(m)) for n, m in (("a", ""), ("b", "a"))
    ]
    assert WHY_BATCHED not in text(compile_plan(Graph(name="x", operations=chain)))


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


def test_the_graphviz_diagram_says_the_same_and_escapes_what_graphviz_would_read():
    assert dot(PLAN).splitlines() == [
        'digraph "x" {',
        "    rankdir=LR",
        "    node [shape=box]",
        '    n0 [label="list\\nnotes tool list_notes"]',
        '    n1 [label="now\\ntime tool now"]',
        '    n2 [label="each\\nnotes prompt sum for each", peripheries=2]',
        r'    n3 [label="end\nnotes resource n://\"<&>\""]',
        "    n0 -> n1 [style=dotted]",
        "    n0 -> n2",
        "    n1 -> n3 [style=dotted]",
        "    n2 -> n3 [style=dotted]",
        "}",
    ]


def test_a_wide_graph_has_every_operation_and_arrow_in_its_diagrams():
    operations = [Operation(id="first", server="s", tool="t")]
    operations += [
        Operation(id=f"o{n}", server="s", tool="t", needs=["first"]) for n in range(2000)
    ]
    wide = compile_plan(Graph(name="wide", operations=operations))
    for drawn in (dot(wide), mermaid(wide)):
        assert len(drawn.splitlines()) >= 4000
        assert "n2000" in drawn


def test_a_fallback_is_shown_as_what_follows_a_failure():
    plan = compile_plan(
        Graph(
            name="x",
            operations=[
                Operation(id="a", server="s", tool="t", fallback="b"),
                Operation(id="b", server="s", tool="t"),
                Operation(id="end", server="s", tool="t", needs=["a"]),
            ],
        )
    )
    assert list(plan.steps) == ["a", "b", "end"]
    assert [plan.steps[name].rank for name in plan.steps] == [3.0, 2.0, 1.0]
    assert "    n0 -. failed .-> n1" in mermaid(plan).splitlines()
    assert "    n0 -> n1 [style=dashed, label=failed]" in dot(plan).splitlines()
    assert "a (failed)" in text(plan).splitlines()[2]
