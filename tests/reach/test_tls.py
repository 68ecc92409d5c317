"""A cluster that speaks TLS, and what is said when client and cluster do not fit."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from celery import chord
from certificates import Certificates
from server_nodes import ServerNodes
from task_worker import TaskWorker

from omx_tasks.errors import ConfigurationError, OmxError
from omx_tasks.store.address import Address, Node
from omx_tasks.store.client import Store

Until = Callable[..., None]


def _url(nodes: ServerNodes, **options: str) -> str:
    query = "&".join(f"{name}={quote(value)}" for name, value in options.items())
    return f"redisclusters://{nodes.hosts}?{query}"


@pytest.fixture
def ca(certificates: Certificates) -> str:
    return certificates.file("ca.pem")


def _refusal(address: Address | str) -> str:
    """Return the words of the error that a request ends with; it is not tried again."""
    store = Store(address, timeout=3600)
    with pytest.raises(ConfigurationError) as error:
        store.command("k", "GET", "k")
    return str(error.value)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_runs_tasks_on_a_cluster_that_speaks_tls(
    tls_cluster: ServerNodes, ca: str, tmp_path: Path, pool: str
) -> None:
    with TaskWorker(_url(tls_cluster, ssl_ca_certs=ca), tmp_path / "log", pool=pool) as worker:
        assert worker.call("add", 1, 2) == 3
        assert worker.call("letters", 5_000_000) == "x" * 5_000_000
        header = [worker.task("add", i, i) for i in range(20)]
        assert chord(header)(worker.task("total")).get(timeout=60) == 380


def test_the_options_of_tls_can_stand_in_the_transport_options(
    tls_cluster: ServerNodes, ca: str, tmp_path: Path
) -> None:
    options = {"ssl_ca_certs": ca, "ssl_cert_reqs": "required"}
    worker = TaskWorker(
        _url(tls_cluster), tmp_path / "log",
        broker_transport_options=options, result_backend_transport_options=options,
    )  # fmt: skip
    with worker:
        assert worker.call("add", 1, 2) == 3


@pytest.fixture
def client_certificates_needed(tls_cluster: ServerNodes) -> Iterator[None]:
    tls_cluster.everywhere("CONFIG", "SET", "tls-auth-clients", "yes")
    yield
    tls_cluster.everywhere("CONFIG", "SET", "tls-auth-clients", "optional")


@pytest.mark.usefixtures("client_certificates_needed")
def test_a_client_certificate_is_shown_to_a_cluster_that_asks_for_one(
    tls_cluster: ServerNodes, ca: str, certificates: Certificates
) -> None:
    own = {
        "ssl_certfile": certificates.file("client.pem"),
        "ssl_keyfile": certificates.file("client.key"),
    }
    store = Store(_url(tls_cluster, ssl_ca_certs=ca, **own), timeout=10)
    store.command("k", "SET", "k", "1")
    assert store.command("k", "GET", "k") == b"1"
    store.close()


@pytest.mark.usefixtures("client_certificates_needed")
def test_a_missing_client_certificate_is_asked_for(tls_cluster: ServerNodes, ca: str) -> None:
    store = Store(_url(tls_cluster, ssl_ca_certs=ca), timeout=0.5)
    with pytest.raises(OmxError, match="ssl_certfile"):
        store.command("k", "GET", "k")


def test_a_certificate_of_an_unknown_authority_is_refused_with_what_to_do(
    tls_cluster: ServerNodes, tmp_path: Path
) -> None:
    other = Certificates(tmp_path / "other").file("ca.pem")
    assert "name its authority in ssl_ca_certs" in _refusal(_url(tls_cluster, ssl_ca_certs=other))


def test_the_systems_authorities_are_asked_where_none_is_given(tls_cluster: ServerNodes) -> None:
    assert "is not trusted" in _refusal(_url(tls_cluster))


def test_any_certificate_will_do_where_it_is_said_so(tls_cluster: ServerNodes) -> None:
    store = Store(_url(tls_cluster, ssl_cert_reqs="none"), timeout=10)
    assert store.command("missing", "GET", "missing") is None
    store.close()


def test_a_certificate_for_another_host_is_refused_unless_names_are_not_checked(
    tls_cluster: ServerNodes, certificates: Certificates
) -> None:
    certificates.issue("elsewhere", "DNS:elsewhere.example")
    _present(tls_cluster, certificates, "elsewhere")
    try:
        url = _url(tls_cluster, ssl_ca_certs=certificates.file("ca.pem"))
        assert "ssl_check_hostname=false" in _refusal(url)
        store = Store(f"{url}&ssl_check_hostname=false", timeout=10)
        assert store.command("missing", "GET", "missing") is None
        store.close()
    finally:
        _present(tls_cluster, certificates, "server")


def test_a_certificate_for_a_name_is_verified_where_the_cluster_announces_names(
    tls_cluster: ServerNodes, certificates: Certificates, until: Until
) -> None:
    certificates.issue("named", "DNS:localhost")
    _present(tls_cluster, certificates, "named")
    try:
        _announce(tls_cluster, "hostname", "localhost")
        url = f"redisclusters://localhost:{tls_cluster.ports[0]}?ssl_ca_certs={certificates.file('ca.pem')}"
        store = Store(url, timeout=10)
        until(lambda: _masters(store) == {Node("localhost", port) for port in tls_cluster.ports})
        store.commands([(f"k{i}", ("SET", f"k{i}", i)) for i in range(20)])
        store.close()
    finally:
        _announce(tls_cluster, "ip", "")
        _present(tls_cluster, certificates, "server")


def _masters(store: Store) -> set[Node]:
    store.ping(5)
    return set(store.topology.masters)


def _announce(nodes: ServerNodes, kind: str, hostname: str) -> None:
    nodes.everywhere("CONFIG", "SET", "cluster-announce-hostname", hostname)
    nodes.everywhere("CONFIG", "SET", "cluster-preferred-endpoint-type", kind)


@pytest.mark.usefixtures("client_certificates_needed")
def test_a_certificate_that_is_renewed_is_used_for_the_next_link(
    tls_cluster: ServerNodes, ca: str, certificates: Certificates, tmp_path: Path
) -> None:
    other = Certificates(tmp_path / "other")
    other.issue("own")
    own = {"ssl_certfile": other.file("own.pem"), "ssl_keyfile": other.file("own.key")}
    url = _url(tls_cluster, ssl_ca_certs=ca, **own)
    assert "does not accept the certificate in ssl_certfile" in _refusal(url)
    for kind in ("pem", "key"):
        shutil.copyfile(certificates.file(f"client.{kind}"), other.file(f"own.{kind}"))
    store = Store(url, timeout=10)
    assert store.command("missing", "GET", "missing") is None
    store.close()


def test_a_client_certificate_of_another_authority_is_told(
    tls_cluster: ServerNodes, ca: str, tmp_path: Path
) -> None:
    other = Certificates(tmp_path / "other")
    other.issue("stranger")
    own = {"ssl_certfile": other.file("stranger.pem"), "ssl_keyfile": other.file("stranger.key")}
    assert "does not accept the certificate in ssl_certfile" in _refusal(
        _url(tls_cluster, ssl_ca_certs=ca, **own)
    )


def _present(nodes: ServerNodes, certificates: Certificates, name: str) -> None:
    for port in nodes.ports:
        client = (
            "tls-cert-file",
            certificates.file(f"{name}.pem"),
            "tls-key-file",
            certificates.file(f"{name}.key"),
        )
        nodes.call(port, "CONFIG", "SET", *client)


def test_a_plain_address_of_a_cluster_that_speaks_tls_says_so(tls_cluster: ServerNodes) -> None:
    assert "write redisclusters://" in _refusal(f"rediscluster://{tls_cluster.hosts}")


def test_a_tls_address_of_a_plain_cluster_says_so(plain_hosts: str) -> None:
    assert "write rediscluster://" in _refusal(f"redisclusters://{plain_hosts}")


def test_a_worker_with_the_wrong_scheme_ends_and_says_why(
    tls_cluster: ServerNodes, tmp_path: Path
) -> None:
    with TaskWorker(f"rediscluster://{tls_cluster.hosts}", tmp_path / "log") as worker:
        assert worker.process is not None
        assert worker.process.wait(60) != 0
    assert "write redisclusters://" in worker.log.read_text()


def test_a_caller_with_the_wrong_scheme_is_told_at_once(
    tls_cluster: ServerNodes, tmp_path: Path
) -> None:
    worker = TaskWorker(f"rediscluster://{tls_cluster.hosts}", tmp_path / "log")
    with pytest.raises(ConfigurationError, match="write redisclusters://"):
        worker.task("add", 1, 2).delay()
    worker.close()


@pytest.mark.parametrize(
    ("option", "content"),
    [("ssl_ca_certs", None), ("ssl_ca_certs", "no certificate"), ("ssl_certfile", None)],
)
def test_a_file_that_cannot_be_used_is_named(
    tls_cluster: ServerNodes, tmp_path: Path, option: str, content: str | None
) -> None:
    file = tmp_path / "file.pem"
    if content is not None:
        file.write_text(content)
    assert f"{option}={file} cannot be used" in _refusal(_url(tls_cluster, **{option: str(file)}))
