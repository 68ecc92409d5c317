"""Settings: typed, checked, and never silently ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from omx_tasks import settings
from omx_tasks.errors import ConfigurationError


def test_without_variables_every_setting_has_its_default():
    given = settings.load({})
    assert (given.broker_url, given.slots, given.lease) == (None, 32, 30.0)


def test_variables_are_read_with_their_types():
    given = settings.load({"OMX_SLOTS": "8", "OMX_LEASE": "2.5", "OMX_MCP_CONFIG": "a/mcp.json"})
    assert (given.slots, given.lease, given.mcp_config) == (8, 2.5, Path("a/mcp.json"))


def test_only_the_given_environment_counts(monkeypatch):
    monkeypatch.setenv("OMX_SLOTS", "7")
    assert settings.load({}).slots == 32


def test_results_go_to_the_brokers_cluster_unless_told_otherwise():
    url = "rediscluster://a:1"
    assert settings.load({"OMX_BROKER_URL": url}).results == url
    assert settings.load({"OMX_BROKER_URL": url, "OMX_RESULT_URL": "x"}).results == "x"


def test_a_misspelt_variable_is_answered_with_the_one_that_was_meant():
    with pytest.raises(ConfigurationError) as refused:
        settings.load({"OMX_BROKER_ULR": "x"})
    assert str(refused.value) == "OMX_BROKER_ULR is no setting. Did you mean 'OMX_BROKER_URL'?"


def test_a_variable_that_is_near_to_none_is_answered_with_all():
    with pytest.raises(
        ConfigurationError, match=r"OMX_QQ is no setting\. There are: OMX_AGENT_MEMORY, OMX_AGENT"
    ):
        settings.load({"OMX_QQ": "x"})


def test_every_setting_can_stand_in_a_file(tmp_path):
    (tmp_path / "slots").write_text("8\n")
    assert settings.load({"OMX_SLOTS_FILE": str(tmp_path / "slots")}).slots == 8
    with pytest.raises(ConfigurationError, match="OMX_SLOTS_FILE='/nowhere' cannot be read"):
        settings.load({"OMX_SLOTS_FILE": "/nowhere"})
    with pytest.raises(ConfigurationError, match="OMX_SLOTS and OMX_SLOTS_FILE are both set"):
        settings.load({"OMX_SLOTS_FILE": "/nowhere", "OMX_SLOTS": "8"})
    with pytest.raises(ConfigurationError, match="OMX_SLOT_FILE is no setting"):
        settings.load({"OMX_SLOT_FILE": "/nowhere"})


def test_a_password_of_its_own_becomes_part_of_the_address(tmp_path):
    (tmp_path / "password").write_text("s3c/ret@\n")
    secret = {"OMX_BROKER_PASSWORD_FILE": str(tmp_path / "password")}
    given = settings.load({"OMX_BROKER_URL": "rediscluster://a:1,b:2?x=1", **secret})
    assert given.broker_url == "rediscluster://:s3c%2Fret%40@a:1,b:2?x=1"
    given = settings.load({"OMX_BROKER_URL": "rediscluster://ann@a", **secret})
    assert given.broker_url == "rediscluster://ann:s3c%2Fret%40@a"
    with pytest.raises(ConfigurationError, match="leave one out") as refused:
        settings.load({"OMX_BROKER_URL": "rediscluster://:other@a", **secret})
    assert "other@" not in str(refused.value)


@pytest.mark.parametrize("name", ["OMX_INPUT_token", "OMX_AGENT", "OMX_AGENT_PROCESS", "HOME"])
def test_variables_that_are_no_settings_are_left_alone(name):
    assert settings.load({name: "x"}) == settings.load({})


@pytest.mark.parametrize(
    ("name", "value"), [("SLOTS", "0"), ("SLOTS", "many"), ("LEASE", "0.5"), ("KEEP_RUNS", "")]
)
def test_a_value_that_will_not_do_is_named(name, value):
    with pytest.raises(ConfigurationError, match=f"OMX_{name}='{value}': "):
        settings.load({f"OMX_{name}": value})


def test_every_setting_says_what_it_is():
    assert all(field.description for field in settings.Settings.model_fields.values())
