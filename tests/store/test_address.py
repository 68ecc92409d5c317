from __future__ import annotations

import contextlib
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from omx_tasks.errors import ConfigurationError
from omx_tasks.logs.masking import mask_url
from omx_tasks.store.address import Address, Node


def test_all_parts_of_an_address_are_read() -> None:
    address = Address.parse("redisclusters://ann:s%40fe@one:7000,two:7001?ssl_ca_certs=/ca.pem")
    assert address.seeds == (Node("one", 7000), Node("two", 7001))
    assert (address.username, address.password, address.tls) == ("ann", "s@fe", True)
    assert address.options == (("ssl_ca_certs", "/ca.pem"),)


def test_a_seed_without_a_port_is_on_the_usual_one() -> None:
    assert Address.parse("rediscluster://one,two:7001").seeds == (
        Node("one", 6379),
        Node("two", 7001),
    )


@pytest.mark.parametrize("text", ["[::1]:7000", "[::1]"])
def test_an_ipv6_address_survives_being_written_and_read(text: str) -> None:
    address = Address.parse(f"rediscluster://{text}")
    assert address.seeds[0].host == "::1"
    assert Address.parse(str(address)) == address


@given(user=st.text(min_size=1), secret=st.text(min_size=1))
def test_any_user_and_password_survive_being_written_and_read(user: str, secret: str) -> None:
    with contextlib.suppress(UnicodeEncodeError):  # a lone surrogate is no text
        address = Address((Node("one", 7000), Node("::1", 7001)), user, secret)
        assert Address.parse(address.uri(include_password=True)) == address


@given(st.text())
@example("rediscluster://one:²")
@example("rediscluster://::1:7000")
@example("rediscluster://[::1")
@example("rediscluster://one?ssl_ca_certs=")
def test_any_text_is_an_address_or_is_refused_with_the_reason(text: str) -> None:
    for url in (text, f"rediscluster://{text}", f"redisclusters://one?{text}"):
        with contextlib.suppress(ConfigurationError):
            address = Address.parse(url)
            assert Address.parse(address.uri(include_password=True)) == address


@given(before=st.text(), after=st.text())
@example("", "one:x")
@example("/", "one")
@example("?", "one")
def test_no_error_shows_the_password(before: str, after: str) -> None:
    for scheme in ("rediscluster", "redis"):
        try:
            Address.parse(f"{scheme}://ann:{before}secret-word@{after}")
        except ConfigurationError as error:
            assert "secret-word" not in str(error)


@pytest.mark.parametrize("secret", ["p@ss:w,rd", "a/b?c", "100%"])
def test_a_password_is_never_shown_and_survives_when_it_is_asked_for(secret: str) -> None:
    address = Address((Node("one", 7000), Node("two", 7001)), "ann", secret)
    assert Address.parse(address.uri(include_password=True)) == address
    for shown in (str(address), repr(address), address.uri()):
        assert secret not in shown


def test_the_mask_hides_the_password_of_a_malformed_address_too() -> None:
    assert mask_url("redis://ann:secret@one:x") == "redis://ann:**@one:x"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "is no cluster address"),
        ("one:7000", "is no cluster address"),
        ("redis://one", "is no cluster address"),
        ("rediscluster://", "names no host"),
        ("rediscluster://ann:x@", "names no host"),
        ("rediscluster://,", "names no host"),
        ("rediscluster://one:0", "no valid port"),
        ("rediscluster://one:x", "no valid port"),
        ("rediscluster://one:", "no valid port"),
        ("rediscluster://one:99999", "no valid port"),
        ("rediscluster://one:7000,two:-1", "'two:-1' has no valid port"),
        ("rediscluster://:7000", "write host:port"),
        ("rediscluster://o ne:7000", "write host:port"),
        ("rediscluster://::1:7000", r"write \[address\]:port"),
        ("rediscluster://[one:7000", "write host:port"),
        ("rediscluster://one/1", "no database but 0"),
        ("rediscluster://ann:a/b@one", "%2F"),
        ("rediscluster://ann:a?b@one", "%3F"),
        ("rediscluster://one?frob=1", "unknown option 'frob'"),
        ("rediscluster://one?ssl_ca_cert=x", "Did you mean 'ssl_ca_certs'"),
        ("rediscluster://one?ssl_ca_certs=/ca.pem", "write redisclusters://"),
        ("redisclusters://one?ssl_ca_certs=", "names no file"),
        ("redisclusters://one?ssl_cert_reqs=optional", "write none or required"),
        ("redisclusters://one?ssl_check_hostname=1", "write true or false"),
        ("redisclusters://one?ssl_keyfile=/key", "name that as ssl_certfile"),
        ("rediscluster://one?address_remap=one", "no JSON object"),
        ("rediscluster://one?address_remap=[1]", "no JSON object"),
        ('rediscluster://one?address_remap={"a":1}', "no JSON object of addresses"),
        ('rediscluster://one?address_remap={"a":"b:x"}', "address_remap: 'b:x' has no valid port"),
    ],
)
def test_a_wrong_address_is_refused_with_the_reason(url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        Address.parse(url)


def test_an_error_about_an_address_does_not_show_its_password() -> None:
    with pytest.raises(ConfigurationError) as error:
        Address.parse("rediscluster://ann:secret@one:x")
    assert "secret" not in str(error.value)


def test_a_secret_option_is_not_shown() -> None:
    with pytest.raises(ConfigurationError) as error:
        Address.parse("rediscluster://one?password=secret")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"ssl_cert_reqs": ssl.CERT_NONE}, ("ssl_cert_reqs", "none")),
        ({"ssl_cert_reqs": "CERT_REQUIRED"}, ("ssl_cert_reqs", "required")),
        ({"ssl_check_hostname": False}, ("ssl_check_hostname", "false")),
        ({"ssl_ca_certs": Path("/ca.pem")}, ("ssl_ca_certs", "/ca.pem")),
    ],
)
def test_options_of_an_address_are_taken_from_transport_options_too(
    given: dict[str, Any], option: tuple[str, str]
) -> None:
    url = "redisclusters://one?ssl_ca_certs=/url.pem&ssl_cert_reqs=none"
    address = Address.parse(url, {**given, "lease": 1500})
    assert option in address.options


def test_an_announced_address_is_reached_where_the_remap_says() -> None:
    remap = {"10.0.0.1:6379": "127.0.0.1:7001", "[fe80::1]:7": "one:8"}
    by_url = Address.parse(f"rediscluster://one?address_remap={json.dumps(remap)}")
    assert by_url == Address.parse("rediscluster://one", {"address_remap": remap})
    assert by_url == Address.parse(str(by_url))
    assert by_url.reachable(Node("10.0.0.1", 6379)) == Node("127.0.0.1", 7001)
    assert by_url.reachable(Node("fe80::1", 7)) == Node("one", 8)
    assert by_url.reachable(Node("10.0.0.2", 6379)) == Node("10.0.0.2", 6379)
