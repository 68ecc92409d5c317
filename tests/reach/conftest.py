from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from certificates import Certificates
from server_nodes import ServerNodes, server_with_tls

from omx_tasks.store.client import Store


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl program to make certificates with")
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    for name in ("server", "client"):
        made.issue(name)
    return made


@pytest.fixture(scope="session")
def tls_cluster(
    certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerNodes]:
    """A cluster that speaks only TLS; it looks at a client's certificate where one is sent."""
    server = server_with_tls()
    if server is None:
        pytest.skip("no server program on this machine was built with TLS")
    file = certificates.file
    nodes = ServerNodes(
        tmp_path_factory.mktemp("tls"), server=server, tls=True, ssl=True, ssl_cert_reqs="none",
        ssl_check_hostname=False, ssl_certfile=file("client.pem"), ssl_keyfile=file("client.key"),
        settings=[
            "--tls-cluster", "yes", "--tls-replication", "yes", "--tls-auth-clients", "optional",
            "--tls-ca-cert-file", file("ca.pem"), "--tls-cert-file", file("server.pem"),
            "--tls-key-file", file("server.key"),
        ],
    )  # fmt: skip
    yield nodes
    nodes.stop()


@pytest.fixture
def plain_hosts(store: Store) -> str:
    """The seeds of the plain cluster."""
    return ",".join(str(seed) for seed in store.address.seeds)
