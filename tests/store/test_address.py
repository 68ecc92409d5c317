from __future__ import annotations

import pytest

from omx_tasks.errors import ConfigurationError
from omx_tasks.store.address import Address, Node, mask


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


@pytest.mark.parametrize("secret", ["p@ss:w,rd", "a/b?c", "100%"])
def test_a_password_is_never_shown_and_survives_when_it_is_asked_for(secret: str) -> None:
    address = Address((Node("one", 7000), Node("two", 7001)), "ann", secret)
    assert Address.parse(address.uri(include_password=True)) == address
    for shown in (str(address), repr(address), address.uri()):
        assert secret not in shown


def test_the_mask_hides_the_password_of_a_malformed_address_too() -> None:
    assert mask("redis://ann:secret@one:x") == "redis://ann:**@one:x"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://one", "is no cluster address"),
        ("rediscluster://", "names no host"),
        ("rediscluster://one:0", "no valid port"),
        ("rediscluster://one:x", "no valid port"),
        ("rediscluster://one?frob=1", "unknown option 'frob'"),
    ],
)
def test_a_wrong_address_is_refused_with_the_reason(url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        Address.parse(url)


def test_an_error_about_an_address_does_not_show_its_password() -> None:
    with pytest.raises(ConfigurationError) as error:
        Address.parse("rediscluster://ann:secret@one:x")
    assert "secret" not in str(error.value)
