"""A Redis Cluster on this machine, kept in one folder.

::

    DIRECTORY/
      cluster.json        the shape of the cluster
      lock                held by the process that starts or stops it
      nodes/PORT/         a node: node.conf, node.log, node.pid, and its data
"""

from __future__ import annotations

import shutil
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from omx_tasks.cluster.binary import find_server, server_version
from omx_tasks.cluster.lock import folder_lock
from omx_tasks.cluster.node import STOP_SECONDS, closing_all, stop_all
from omx_tasks.cluster.ports import check_ports, reserved_ports
from omx_tasks.cluster.readiness import look_at_all, unready
from omx_tasks.cluster.record import (
    LOCK_NAME,
    NODES_NAME,
    RECORD_NAME,
    Record,
    folder_error,
    read_record,
)
from omx_tasks.cluster.startup import create, nodes_of, resume
from omx_tasks.cluster.status import ClusterStatus, cluster_url, read_status
from omx_tasks.errors import ClusterError, ConfigurationError, NotFoundError

READY_SECONDS = 30.0


class EmbeddedCluster:
    """The cluster in ``directory``, which is made by the first ``up`` and kept from then on.

    ``masters`` and ``replicas`` (for each master) hold for the life of the cluster; with fewer
    than three masters no replica is promoted by itself, since that takes a majority of masters.
    ``ports`` are those of the masters, then of the replicas; None takes free ones.
    ``node_timeout_ms``: milliseconds of silence after which a node counts as failed.
    ``server``: the program to run; None takes the one that the cluster had before, or
    ``find_server()``.
    """

    def __init__(
        self,
        directory: Path,
        masters: int = 3,
        replicas: int = 1,
        ports: list[int] | None = None,
        node_timeout_ms: int = 2000,
        *,
        server: str | None = None,
    ) -> None:
        if masters < 1 or replicas < 0:
            raise ConfigurationError(
                "a cluster needs at least one master and no less than 0 replicas"
            )
        if ports is not None:
            check_ports(ports, masters * (1 + replicas))
        self.directory = directory.expanduser().resolve()
        self.masters = masters
        self.replicas = replicas
        self.ports = ports
        self.node_timeout_ms = node_timeout_ms
        self.server = server

    @classmethod
    def existing(cls, directory: Path) -> EmbeddedCluster:
        """Return the cluster that a folder holds. Raises NotFoundError where it holds none."""
        record = read_record(directory.expanduser())
        if record is None:
            raise NotFoundError(
                f"there is no cluster in {directory}: start one with `omx cluster up`, "
                "or name its folder with --dir"
            )
        return cls(directory, record.masters, record.replicas, None, record.node_timeout_ms)

    def __repr__(self) -> str:
        return f"<EmbeddedCluster {self.masters}+{self.masters * self.replicas} {self.directory}>"

    def up(self, bound: bool = False, timeout: float = READY_SECONDS) -> None:
        """Create the cluster, or start what of it does not run, and return when it is ready.

        ``bound``: the nodes started die with this process; else they outlive it. ``timeout`` in
        seconds. Raises ClusterError, after stopping what it started.
        """
        deadline = time.monotonic() + timeout
        read_record(self.directory)  # nothing is written into a folder that holds something else
        with folder_lock(self.directory, deadline):
            record = read_record(self.directory)
            try:
                if record is not None and record.formed:
                    self._resume(record, bound, deadline)
                else:
                    self._create(record, bound, deadline)
            except OSError as error:
                raise folder_error(self.directory, error) from error

    def down(self, delete: bool = False, timeout: float = STOP_SECONDS) -> None:
        """Stop all nodes of this cluster, and with ``delete`` remove it with its data.

        Does nothing where there is no cluster. What is left after ``timeout`` seconds is killed.
        """
        if read_record(self.directory) is None:
            return
        with folder_lock(self.directory, time.monotonic() + timeout):
            record = read_record(self.directory)
            if record is None:
                return
            stop_all(nodes_of(self.directory, record), timeout)
            if delete:
                self._delete()

    def status(self) -> ClusterStatus:
        """Return how the cluster and its nodes are. Raises NotFoundError where there is none."""
        record = self._record()
        with closing_all(nodes_of(self.directory, record)) as nodes:
            return read_status(nodes, record, str(self.directory))

    def is_ready(self) -> bool:
        """Say whether the cluster exists and is ready in every way, without waiting."""
        record = read_record(self.directory)
        if record is None or not record.formed:
            return False
        with closing_all(nodes_of(self.directory, record)) as nodes:
            return not unready(look_at_all(nodes), record.masters)

    def url(self) -> str:
        """Return ``rediscluster://127.0.0.1:PORT,…``. Raises NotFoundError before the first up."""
        return cluster_url(self._record().ports)

    def _record(self) -> Record:
        record = read_record(self.directory)
        if record is None:
            raise NotFoundError(f"there is no cluster in {self.directory}: it was not up yet")
        return record

    def _create(self, leftover: Record | None, bound: bool, deadline: float) -> None:
        """Make the cluster from nothing, in place of one whose making broke off."""
        server = find_server(self.server)
        version = server_version(server)
        if leftover is not None:
            stop_all(nodes_of(self.directory, leftover))
            shutil.rmtree(self.directory / NODES_NAME, ignore_errors=True)
        count = self.masters * (1 + self.replicas)
        with nullcontext(self.ports) if self.ports else reserved_ports(count) as ports:
            record = Record(
                masters=self.masters,
                replicas=self.replicas,
                ports=tuple(ports),
                node_timeout_ms=self.node_timeout_ms,
                server=str(server),
                version=version,
                formed=False,
            )
            create(self.directory, record, bound, deadline)

    def _resume(self, record: Record, bound: bool, deadline: float) -> None:
        """Start what does not run, with the data it had."""
        self._check_same(record)
        wanted = replace(record, node_timeout_ms=self.node_timeout_ms)
        resume(self.directory, wanted, self.server, bound, deadline)

    def _check_same(self, record: Record) -> None:
        """Raise ClusterError where the cluster has another shape than the one asked for."""
        asked = (self.masters, self.replicas)
        if asked != (record.masters, record.replicas):
            raise ClusterError(
                f"the cluster in {self.directory} has {record.masters} masters with "
                f"{record.replicas} replicas each, not {asked[0]} with {asked[1]}: ask for what it "
                "has, name another folder, or remove it with `omx cluster down --delete`"
            )
        if self.ports is not None and tuple(self.ports) != record.ports:
            raise ClusterError(
                f"the cluster in {self.directory} is on the ports {list(record.ports)}, not "
                f"{self.ports}: leave the ports out, name another folder, or remove it with "
                "`omx cluster down --delete`"
            )

    def _delete(self) -> None:
        """Remove what belongs to the cluster, and the folder if that is all it held."""
        try:
            shutil.rmtree(self.directory / NODES_NAME, ignore_errors=True)
            (self.directory / RECORD_NAME).unlink()
            (self.directory / LOCK_NAME).unlink()
            if not any(self.directory.iterdir()):
                self.directory.rmdir()
        except OSError as error:
            raise folder_error(self.directory, error) from error
