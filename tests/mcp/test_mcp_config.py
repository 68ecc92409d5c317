"""Server files: every dialect is read, every mistake is named, no secret is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from omx_tasks.errors import ConfigurationError
from omx_tasks.mcp import config, jsonc


@pytest.fixture
def write(tmp_path):
    def write(text: str | dict, name: str = "mcp.json") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if isinstance(text, str) else json.dumps(text))
        return path

    return write


def one(write, server, **top):
    return config.load(write({"mcpServers": {"s": server}, **top})).servers["s"]


def test_a_claude_desktop_file_is_read(write):
    server = one(write, {"command": "npx", "args": ["-y", "x"], "env": {"A": "1", "PORT": 80}})
    assert (server.transport, server.command, server.args) == ("stdio", "npx", ("-y", "x"))
    assert server.env == {"A": "1", "PORT": "80"}


def test_a_vs_code_file_with_comments_and_trailing_commas_is_read(write):
    path = write("""{
      // servers of this folder
      "inputs": [{"type": "promptString", "id": "api-key", "password": true,},],
      "servers": {
        /* over
           two lines */
        "web": {"type": "http", "url": "https://host/x//y,]",
                "headers": {"K": "${input:api-key}"},},
      },
    }""")
    server = config.load(path).servers["web"]
    assert server.url == "https://host/x//y,]"
    assert server.resolved({"OMX_INPUT_API_KEY": "secret"}).headers == {"K": "secret"}


@pytest.mark.parametrize(
    ("server", "transport"),
    [
        ({"command": "x"}, "stdio"),
        ({"type": "stdio", "command": "x"}, "stdio"),
        ({"url": "http://h/mcp"}, "http"),
        ({"url": "http://h/sse"}, "sse"),
        ({"transport": "streamable-http", "url": "http://h"}, "http"),
        ({"type": "streamableHttp", "url": "http://h"}, "http"),
        ({"type": "sse", "url": "http://h"}, "sse"),
        ({"type": "stdio", "command": "x", "url": "http://h"}, "stdio"),
    ],
)
def test_the_transport_is_stated_or_follows_from_the_keys(write, server, transport):
    assert one(write, server).transport == transport


def test_unknown_keys_are_left_alone_and_disabled_servers_left_out(write):
    path = write(
        {
            "mcpServers": {
                "a": {"command": "x", "alwaysAllow": ["t"], "timeout": 60000},
                "b": {"command": "x", "disabled": True},
                "c": {"command": "x", "disabled": False},
            },
            "theme": "dark",
        }
    )
    assert list(config.load(path).servers) == ["a", "c"]


def test_variables_are_resolved_on_the_agent_only(write):
    server = one(
        write,
        {
            "command": "${HOME_OF_X}/bin/x",
            "args": [
                "--key=${env:KEY}",
                "${MISSING:-there}",
                "${EMPTY:-full}",
                "$PLAIN",
                "${userHome}",
            ],
            "env": {"K": "${KEY}"},
            "cwd": "sub",
        },
    )
    assert server.args[0] == "--key=${env:KEY}"
    resolved = server.resolved({"HOME_OF_X": "/opt/x", "KEY": "k-secret", "EMPTY": ""})
    assert resolved.command == "/opt/x/bin/x"
    assert resolved.args == ("--key=k-secret", "there", "full", "$PLAIN", str(Path.home()))
    assert resolved.env == {"K": "k-secret"}
    assert resolved.cwd == str(server.path.parent / "sub")
    assert resolved.resolved({}) is resolved


def test_the_workspace_of_a_file_in_dot_vscode_is_the_folder_above(write):
    path = write({"servers": {"s": {"command": "${workspaceFolder}/x"}}}, ".vscode/mcp.json")
    server = config.load(path).servers["s"].resolved({})
    assert server.command == f"{path.parent.parent}/x"


@pytest.mark.parametrize(
    ("value", "named"),
    [("${NOPE}", "NOPE"), ("${env:NOPE}", "NOPE"), ("${input:my.key}", "OMX_INPUT_MY_KEY")],
)
def test_an_unresolved_variable_names_file_server_key_and_variable(write, value, named):
    server = one(write, {"command": "x", "env": {"TOKEN": value}})
    with pytest.raises(ConfigurationError) as caught:
        server.resolved({})
    message = str(caught.value)
    assert all(part in message for part in (str(server.path), "'s'", "env.TOKEN", named))


def test_all_that_is_wrong_is_said_at_once(write):
    server = one(write, {"command": "${A}", "args": ["${B}"], "envFile": "no.env"})
    with pytest.raises(ConfigurationError) as caught:
        config.check_variables([server], {})
    lines = str(caught.value).splitlines()
    assert [any(word in line for line in lines) for word in ("${A}", "${B}", "no.env")] == [
        True
    ] * 3
    path = write({"mcpServers": {"a": {"command": 1}, "b": {"url": 2}, "c": {"command": "x"}}})
    servers, mistakes = config.read(path)
    assert (list(servers.servers), list(mistakes)) == (["c"], ["a", "b"])
    with pytest.raises(ConfigurationError, match=r"(?s)'a'.*'b'"):
        config.load(path)


def test_an_env_file_gives_variables_that_env_overrides(write, tmp_path):
    (tmp_path / "my.env").write_text("# mine\nexport A='a a'\nB=from-file\nC=$B\n")
    server = one(write, {"command": "x", "env": {"B": "2"}, "envFile": "${workspaceFolder}/my.env"})
    resolved = server.resolved({})
    assert resolved.env == {"A": "a a", "B": "2", "C": "$B"}
    assert resolved.redact("from-file a $B") == "from-file a $B"


def test_what_only_an_editor_can_answer_is_refused(write):
    server = one(write, {"command": "${config:a.b}"})
    with pytest.raises(ConfigurationError, match="only be answered by an editor"):
        server.resolved({})


def test_an_answer_to_a_choice_is_one_of_its_options(write):
    inputs = [{"id": "k", "type": "pickString", "options": ["one", {"value": "two"}]}]
    server = one(write, {"command": "x", "args": ["${input:k}"]}, inputs=inputs)
    assert server.resolved({"OMX_INPUT_K": "two"}).args == ("two",)
    with pytest.raises(ConfigurationError, match="OMX_INPUT_K to one of: one, two"):
        server.resolved({"OMX_INPUT_K": "three"})


def test_client_credentials_are_read_strictly_and_not_shown(write):
    auth = {"type": "client_credentials", "client_id": "me", "client_secret": "${SECRET}"}
    server = one(write, {"url": "https://h/mcp", "omx": {"ca": "ca.pem", "auth": auth}})
    resolved = server.resolved({"SECRET": "a-secret"})
    assert resolved.access.auth is not None
    assert resolved.access.auth.client_secret == "a-secret"
    assert resolved.access.ca == str(server.path.parent / "ca.pem")
    assert "a-secret" not in repr(resolved) + repr(resolved.access)
    assert resolved.redact("x a-secret") == "x ***"
    with pytest.raises(ConfigurationError, match=r"omx\.auth\.client_secret: \$\{SECRET\}"):
        server.resolved({})


def test_an_input_falls_back_to_its_default(write):
    inputs = [{"id": "k", "default": "d"}]
    server = one(write, {"command": "x", "args": ["${input:k}"]}, inputs=inputs)
    assert server.resolved({}).args == ("d",)


def test_the_projects_own_key_is_read_strictly(write):
    hints = {"read_only": ["a"], "idempotent": ["b"], "resource": "file.path", "shared": True}
    server = one(write, {"command": "x", "omx": hints})
    assert server.hints.read_only == {"a"}
    assert server.hints.idempotent == {"b"}
    assert (server.hints.resource, server.hints.shared) == ("file.path", True)


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ({"command": "x", "omx": {"readonly": []}}, "Did you mean 'read_only'?"),
        ({"command": "x", "omx": {"zzz": []}}, "Known keys: read_only, idempotent, resource"),
        ({"command": "x", "omx": {"read_only": "a"}}, "omx.read_only"),
        ({"command": "x", "omx": {"resource": "a["}}, "JMESPath"),
        ({"command": "x", "omx": {"shared": 1}}, "omx.shared"),
        ({"command": "x", "omx": []}, "omx"),
        ({"url": "http://h", "omx": {"auth": {"type": "basic"}}}, "client_id and client_secret"),
        ({"url": "http://h", "omx": {"auth": {"clientid": ""}}}, "Did you mean 'client_id'?"),
        ({"command": "x", "omx": {"memory": "1 potato"}}, '"512MiB" or "2GiB"'),
        ({"url": "http://h", "omx": {"memory": "1MiB"}}, 'for servers with a "command"'),
        ({"command": "x", "omx": {"ca": "f"}}, 'for servers with a "url"'),
        ({"commnd": "x"}, "Did you mean 'command'?"),
        ({"command": ["x"]}, '"command" must be a string'),
        ({"command": "x", "args": "a"}, '"args" must be a list'),
        ({"command": "x", "env": {"A": None}}, "env.A"),
        ({"command": "x", "url": "http://h"}, "keep one"),
        ({"type": "sdtio", "command": "x"}, "Did you mean 'stdio'?"),
        ({"type": "http", "command": "x"}, '"url"'),
        ({"type": "stdio", "url": "x"}, '"command"'),
        ("x", "object"),
    ],
)
def test_a_mistake_names_the_file_the_server_and_the_remedy(write, server, expected):
    with pytest.raises(ConfigurationError) as caught:
        one(write, server)
    assert expected in str(caught.value)
    assert "server 's'" in str(caught.value)
    assert "mcp.json" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{\n "mcpServers": {\n  "a": {"command" "x"}\n }}', "line 3"),
        ('{\n /* never ended \n "mcpServers": {}}', "line 2"),
        ('{"mcpServers": {"a": {"command": "x"}, "a": {"command": "y"}}}', "'a' is there twice"),
        ("[]", "must hold an object"),
        ("{}", "mcpServers"),
        ('{"mcpServer": {}}', "Did you mean 'mcpServers'?"),
        ('{"mcpServers": []}', "must be an object"),
        ('{"mcpServers": {}, "servers": {}}', "both"),
        ('{"servers": {}, "inputs": {}}', "inputs"),
        ('{"servers": {}, "inputs": [{}]}', '"id"'),
        ('{"mcpServers": {"a{b}": {"command": "x"}}}', "a{b}"),
        ('{"mcpServers": {"": {"command": "x"}}}', "empty"),
    ],
)
def test_a_broken_file_says_what_is_wrong_and_where(write, text, expected):
    with pytest.raises(ConfigurationError, match=r"mcp\.json") as caught:
        config.load(write(text))
    assert expected in str(caught.value)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "mcp.json"
    path.write_bytes(b'{"\xff": 1}')
    with pytest.raises(ConfigurationError, match="UTF-8"):
        config.load(path)


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    path = tmp_path / "mcp.json"
    path.write_bytes(b'\xef\xbb\xbf{"mcpServers": {}}')
    assert config.load(path).servers == {}


def test_the_digest_ignores_layout_and_sees_content(write):
    first = config.load(write('{"mcpServers": {"a": {"command": "x", "args": []}}}')).digest
    same = config.load(write('{ // hi\n"servers": {"a": {"args": [], "command": "x",}}}')).digest
    other = config.load(write('{"mcpServers": {"a": {"command": "x", "args": ["1"]}}}')).digest
    assert first == same != other


def test_the_file_is_the_given_one_else_dot_mcp_else_mcp(write, tmp_path):
    plain = write({"mcpServers": {}})
    assert config.find(None, tmp_path) == plain
    dotted = write({"mcpServers": {}}, ".mcp.json")
    assert config.find(None, tmp_path) == dotted
    assert config.find(str(plain), tmp_path) == plain


def test_a_missing_file_says_where_it_looked_and_shows_an_example(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        config.find(None, tmp_path)
    assert all(p in str(caught.value) for p in (".mcp.json", str(tmp_path), '"mcpServers"'))
    with pytest.raises(ConfigurationError, match=r"nope\.json"):
        config.find("nope.json", tmp_path)


def test_the_example_in_the_message_is_a_valid_file(write):
    assert list(config.load(write(config.EXAMPLE)).servers) == ["time"]


def test_repr_shows_no_secret(write):
    server = one(
        write,
        {"command": "x", "args": ["--k=a-secret"], "env": {"T": "a-secret"}, "omx": {}},
    )
    web = one(write, {"url": "http://u:a-secret@h", "headers": {"A": "a-secret"}})
    for shown in (server, server.resolved({}), web, web.resolved({})):
        assert "a-secret" not in repr(shown)
        assert "a-secret" not in str(shown)


def test_what_came_from_the_environment_is_redacted_from_messages(write):
    server = one(write, {"command": "x", "args": ["${KEY}"], "env": {"T": "in-the-file", "N": "1"}})
    resolved = server.resolved({"KEY": "from-outside"})
    assert resolved.redact("1 from-outside 2 in-the-file") == "1 *** 2 ***"


def test_blanking_keeps_strings_and_positions():
    text = '{"a": "// not, ]", /* x\n */ "b": [1, 2, ], // end\n}'
    assert jsonc.loads(text) == {"a": "// not, ]", "b": [1, 2]}
    assert len(jsonc.plain(text)) == len(text)
