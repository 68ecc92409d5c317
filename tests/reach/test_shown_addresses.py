"""Addresses with several seeds where Celery, kombu and Flower show or read them."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.app.utils import filter_hidden_settings
from flower.app import Flower
from flower.utils.broker import Broker
from kombu import Connection

from omx_tasks.broker.transport import register
from omx_tasks.errors import ConfigurationError

HOSTS = "one:7000,two:7001,[fe80::3]:7002"
URL = f"redisclusters://ann:secret%40word@{HOSTS}?ssl_cert_reqs=none"
SHOWN = f"redisclusters://ann:**@{HOSTS}?ssl_cert_reqs=none"


@pytest.fixture
def app() -> Any:
    register()
    return Celery("shown", broker=URL, backend=URL, set_as_current=False)


def test_a_connection_and_its_copy_show_all_seeds(app: Any) -> None:
    connection = app.connection()
    assert connection.as_uri() == connection.clone().as_uri() == SHOWN
    assert connection.as_uri(include_password=True) == URL
    assert app.backend.as_uri() == SHOWN


def test_a_report_shows_no_password(app: Any) -> None:
    shown = filter_hidden_settings({"broker_url": URL, "result_backend": URL})
    assert "secret" not in str(shown)
    assert shown["broker_url"] == SHOWN.replace("**", "********")
    assert shown["result_backend"].startswith("redisclusters://ann:")
    assert "secret" not in app.bugreport()


def test_flower_reads_and_shows_all_seeds(app: Any) -> None:
    flower = Flower(capp=app)
    assert (flower.broker_uri, flower.broker_uri_with_password) == (SHOWN, URL)
    assert flower.transport == "redis"
    with pytest.raises(NotImplementedError):  # it knows no such broker, and can read the address
        Broker(flower.broker_uri_with_password)


def test_kombus_own_setting_for_tls_is_refused_instead_of_ignored() -> None:
    register()
    with pytest.raises(ConfigurationError, match="write redisclusters://"):
        Connection("rediscluster://one", ssl={"ca_certs": "/ca.pem"}).connect()
