"""What no log may hold, and what it should."""

from __future__ import annotations

import json
import uuid

import pytest

from omx_tasks.logs import masking
from omx_tasks.logs.masking import is_secret_name, mask


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("at rediscluster://ann:s3cret@one:7000,two:7001", "at rediscluster://ann:***@one:7000,two:7001"),
        ("clone https://ghp_16C7e42F292c69@github.com/x", "clone https://***@github.com/x"),
        ("redis://:p@ss@host/0", "redis://***@host/0"),
        ("GET http://host:80/x?mail=a@b&api_key=abc&n=1", "GET http://host:80/x?mail=a@b&api_key=***&n=1"),
        ("{'Authorization': 'Bearer abc.def-123=='}", "{'Authorization': 'Bearer ***'}"),
        ("Authorization: Basic am9lOmh1bnRlcjI=\r\n", "Authorization: Basic ***\r\n"),
        ("Basic understanding of a bearer is enough", "Basic understanding of a bearer is enough"),
        ("http://127.0.0.1:3000/metrics", "http://127.0.0.1:3000/metrics"),
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_is_masked_and_nothing_else(text: str, masked: str) -> None:
    assert mask(text) == masked


def test_a_known_secret_is_masked_in_every_form_in_which_it_may_be_said() -> None:
    secret = f'p@ss"w\\rd{uuid.uuid4().hex}'
    masking.remember([secret])
    said = [secret, repr(secret), json.dumps({"key": secret}), f"x%40{secret}"]
    masking.remember_url("rediscluster://ann:s%40cret%2F%2Fvery@one")
    said += ["s@cret//very", "s%40cret%2F%2Fvery"]
    for text in said:
        assert "***" in mask(text)
        assert not {"p@ss", "s@cret", "s%40cret"} & {text[:4] for text in mask(text).split()}
        assert secret[-32:] not in mask(text)


def test_a_secret_of_several_lines_is_masked_line_by_line() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ\nAbCdEfGhIjKlMnOpQrStUv==\n"
    assert mask("read MIIEvQIBADANBgkqhkiG9w0BAQ", [key]) == "read ***"
    assert mask("Bearer and no more", ["Bearer abcdefg"]) == "Bearer and no more"
    assert mask("sent abcdefg", ["Bearer abcdefg"]) == "sent ***"


def test_short_values_are_left_as_they_blot_out_words() -> None:
    assert mask("on the way", ["on", "way"]) == "on the way"


@pytest.mark.parametrize("name", ["GITHUB_TOKEN", "API_KEY", "DB_PASSWORD", "GH_PAT", "BASIC_AUTH"])
def test_names_of_secret_variables_are_known(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["PATH", "PWD", "OLDPWD", "OMX_BROKER_PASSWORD_FILE", "KEYBOARD"])
def test_names_of_others_are_none(name: str) -> None:
    assert not is_secret_name(name)


def test_long_text_is_masked_in_no_time_out_of_proportion() -> None:
    for piece in ("a-", "://a", "x=", "?a&", "Bearer ", "://a:"):
        text = piece * (400_000 // len(piece))
        assert len(mask(text)) <= 2 * len(text)
