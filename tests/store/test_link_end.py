"""A link's end."""

from __future__ import annotations

import gc
import socket
import weakref

from omx_tasks.store.address import Address, Node
from omx_tasks.store.link import Link


def test_a_link_that_nobody_holds_any_more_closes_its_socket(cluster_url: str) -> None:
    address = Address.parse(cluster_url)
    link = Link(Node(*address.seeds[0]), address).connect(5.0)
    sock = link._socket
    assert isinstance(sock, socket.socket)
    gone = weakref.ref(link)
    del link
    gc.collect()
    assert gone() is None
    assert sock.fileno() == -1
