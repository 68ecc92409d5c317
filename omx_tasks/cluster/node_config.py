"""The configuration of one node, as text: of one that only this machine reaches, or of one that others reach, too."""

from __future__ import annotations

from pathlib import Path

from omx_tasks.cluster.ports import HOST

_DATA = """\
dir {folder}
set-proc-title no

appendonly yes
appendfsync everysec
auto-aof-rewrite-min-size 16mb
save ""
stop-writes-on-bgsave-error no
shutdown-timeout 5

cluster-enabled yes
cluster-config-file nodes.conf
cluster-node-timeout {node_timeout_ms}
cluster-require-full-coverage no
cluster-allow-pubsubshard-when-down yes
repl-diskless-sync-delay 0
repl-diskless-load on-empty-db
repl-backlog-size 4mb
"""

_HERE = """\
# Written anew at each start; changes made here are lost.
bind {host}
protected-mode yes
port {port}
pidfile {pid_file}
logfile {log_file}
cluster-announce-ip {host}
"""

# Whoever looks whether a node is well needs no secret for it, and can do nothing else.
_EVERYWHERE = """\
bind * -::*
port {port}
cluster-announce-hostname {host}
cluster-preferred-endpoint-type hostname
requirepass {password}
masterauth {password}
user health on nopass resetkeys resetchannels -@all +ping +cluster|info
"""


def node_config(
    folder: Path, pid_file: Path, log_file: Path, port: int, node_timeout_ms: int
) -> str:
    """Return the configuration of a node that keeps everything in ``folder``.

    The process title stays off: the command line, which names the configuration file, is how a
    node's process is told from another that got its process id later.
    """
    here = _HERE.format(
        host=HOST, port=port, pid_file=_quoted(str(pid_file)), log_file=_quoted(str(log_file))
    )
    return here + _DATA.format(folder=_quoted(str(folder)), node_timeout_ms=node_timeout_ms)


def reachable_config(
    folder: Path, host: str, port: int, password: str, node_timeout_ms: int
) -> str:
    """Return the configuration of a node with its data in ``folder``, which others reach as ``host``."""
    everywhere = _EVERYWHERE.format(host=_quoted(host), port=port, password=_quoted(password))
    return everywhere + _DATA.format(folder=_quoted(str(folder)), node_timeout_ms=node_timeout_ms)


def _quoted(text: str) -> str:
    """Return a text as the servers' configuration reader takes it, whatever is in it."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'
