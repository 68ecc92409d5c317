"""``omx cluster``: a Redis Cluster on this machine."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click
from rich.text import Text

from omx_tasks import settings
from omx_tasks.cli.output import json_option, print_json, print_table, results, say
from omx_tasks.cluster.embedded import EmbeddedCluster
from omx_tasks.cluster.foreground import become_node
from omx_tasks.cluster.gathering import gather
from omx_tasks.cluster.healing import heal as heal_cluster
from omx_tasks.cluster.peer import Peer
from omx_tasks.cluster.record import read_record
from omx_tasks.cluster.status import ClusterStatus, NodeStatus
from omx_tasks.deploy.interrupts import wait_for_one
from omx_tasks.errors import ConfigurationError
from omx_tasks.home import Home
from omx_tasks.store.address import Address
from omx_tasks.store.shards import Shards

_COLORS = {"ok": "green", "degraded": "yellow", "down": "red"}
_TITLES = ("port", "role", "slots", "link", "lag", "keys", "memory", "pid")

_directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    help="Folder of the cluster.  [default: $XDG_DATA_HOME/omx/cluster]",
)


@click.group()
def cluster() -> None:
    """A Redis Cluster on this machine, by itself."""


@cluster.command()
@click.option("--masters", type=int, help="Masters.  [default: 3, or what the cluster has]")
@click.option("--replicas", type=int, help="Replicas a master.  [default: 1, or what it has]")
@click.option("--port", type=int, help="First of the ports in a row.  [default: free ones]")
@click.option("--foreground", is_flag=True, help="Stay until Ctrl-C, and stop the cluster then.")
@_directory_option
@json_option
def up(
    masters: int | None,
    replicas: int | None,
    port: int | None,
    foreground: bool,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Start the cluster, made where there is none, and return when it is ready."""
    folder = directory or default_directory()
    embedded = _wanted(folder, masters, replicas, port)
    embedded.up(bound=foreground)
    status = embedded.status()
    _show(status, as_json)
    if foreground:
        _stay(embedded)
        return
    if not as_json and not _system_on(folder):
        where = f" --dir {folder}" if directory else ""
        click.echo(f"\nThe nodes run on in the background. Broker URL:\n\n  {status.url}\n")
        click.echo(f"Use it:     export OMX_BROKER_URL={status.url}")
        click.echo(f"Look at it: omx cluster status{where}")
        click.echo(f"Stop it:    omx cluster down{where}")


@cluster.command()
@_directory_option
@json_option
def status(directory: Path | None, as_json: bool) -> None:
    """Show every node of the cluster and how it is."""
    _show(EmbeddedCluster.existing(directory or default_directory()).status(), as_json)


@cluster.command()
@_directory_option
@click.option("--delete", is_flag=True, help="Remove the cluster and all its data, too.")
@json_option
def down(directory: Path | None, delete: bool, as_json: bool) -> None:
    """Stop the cluster; its data stays for the next `up`."""
    embedded = EmbeddedCluster.existing(directory or default_directory())
    if home := _system_on(embedded.directory):
        raise ConfigurationError(
            f"the system that is up in {home.folder} works on this cluster: `omx down` stops both"
        )
    embedded.down(delete=delete)
    if as_json:
        print_json({"directory": str(embedded.directory), "deleted": delete})
    else:
        click.echo(
            f"Stopped the cluster in {embedded.directory}{' and removed it' if delete else ''}."
        )


@cluster.command()
@click.option("--port", type=click.IntRange(1024, 55_535), required=True, help="Its port.")
@click.option("--host", required=True, help="Name by which the other nodes and clients reach it.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of its data.",
)
def node(port: int, host: str, directory: Path) -> None:
    """Be one node of a cluster on several machines, in the foreground."""
    given = settings.current()
    if given.broker_password is None:
        raise ConfigurationError(
            "a node that others reach needs a password: name a file that holds it in "
            "OMX_BROKER_PASSWORD_FILE"
        )
    password = given.broker_password.get_secret_value()
    become_node(directory, host, port, password, given.redis_server)


@cluster.command()
@click.option("--replicas", default=1, show_default=True, help="Replicas a master.")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds that it may take.")
@json_option
def form(replicas: int, timeout: float, as_json: bool) -> None:
    """Make one cluster of the nodes in OMX_BROKER_URL, or bring it back in order.

    Do it again at any time: also for a node that came back empty, or with another address.
    """
    address = Address.parse(settings.current().broker_url or "")
    if address.tls:
        raise ConfigurationError("`omx cluster form` knows no TLS: use the server's own tools")
    peers = [Peer(*seed, address.username, address.password) for seed in address.seeds]
    done = gather(peers, replicas, time.monotonic() + timeout)
    if as_json:
        print_json({"done": done})
    else:
        click.echo("\n".join(done) or "Every node is in its place: nothing to do.")


@cluster.command()
@_directory_option
@json_option
def heal(directory: Path | None, as_json: bool) -> None:
    """Restart nodes that died or hang; they join again by themselves."""
    done = heal_cluster(directory or default_directory())
    if as_json:
        print_json({"done": done})
    else:
        click.echo("\n".join(done) or "Every node runs: nothing to do.")


def default_directory() -> Path:
    """Return the folder of the cluster where none is named."""
    return Home.of(os.environ).cluster


def _system_on(directory: Path) -> Home | None:
    """Return the home of the system that is up and works on the cluster in this folder."""
    home = Home.of(os.environ)
    same = directory.expanduser().resolve() == home.cluster.resolve()
    return home if same and home.read() is not None else None


def _stay(embedded: EmbeddedCluster) -> None:
    """Wait for Ctrl-C or SIGTERM, then stop the cluster."""
    say("Ctrl-C stops the cluster")
    wait_for_one()
    embedded.down()


def _wanted(
    folder: Path, masters: int | None, replicas: int | None, port: int | None
) -> EmbeddedCluster:
    """Return the cluster that the options ask for; what they leave open is as it was made."""
    record = read_record(folder.expanduser())
    made = record if record is not None and record.formed else None
    if masters is None:
        masters = made.masters if made else 3
    if replicas is None:
        replicas = made.replicas if made else 1
    ports = None if port is None else list(range(port, port + masters * (1 + replicas)))
    program = settings.current().redis_server
    return EmbeddedCluster(folder, masters, replicas, ports, server=program)


def _show(status: ClusterStatus, as_json: bool) -> None:
    if as_json:
        print_json(status.as_json())
        return
    state = (status.state, _COLORS[status.state])
    about = f" · {status.server} · {status.directory}"
    results().print(Text.assemble(state, about), soft_wrap=True)
    ports = {node.id: node.port for node in status.nodes}
    print_table(_TITLES, [_row(node, ports) for node in status.nodes])
    for trouble in status.trouble:
        click.echo(trouble)
    if told := Shards(status.alone, status.masters).told(settings.current().promise):
        click.echo(told)


def _row(node: NodeStatus, ports: dict[str | None, int]) -> list[str | Text]:
    """Return the cells of one node; a dash for what it cannot tell."""
    role = f"replica of {ports.get(node.master, '?')}" if node.master else node.role
    memory = None if node.memory is None else f"{node.memory / 2**20:.1f} MiB"
    cells = [node.slots or None, node.link, node.lag, node.keys, memory, node.pid]
    words = [
        str(node.port),
        role if node.alive else f"dead {role}",
        *("-" if cell is None else str(cell) for cell in cells),
    ]
    return [Text(word, style="" if node.alive else "red") for word in words]
