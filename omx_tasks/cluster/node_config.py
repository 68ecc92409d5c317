"""The configuration file of one node, as text."""

from __future__ import annotations

from pathlib import Path

from omx_tasks.cluster.ports import HOST

_TEMPLATE = """\
# Written anew at each start; changes made here are lost.
bind {host}
protected-mode yes
port {port}
dir {folder}
pidfile {pid_file}
logfile {log_file}
set-proc-title no

appendonly yes
appendfsync everysec
auto-aof-rewrite-min-size 16mb
save ""
stop-writes-on-bgsave-error no
shutdown-timeout 5

cluster-enabled yes
cluster-config-file nodes.conf
cluster-announce-ip {host}
cluster-node-timeout {node_timeout_ms}
cluster-require-full-coverage no
cluster-allow-pubsubshard-when-down yes
repl-diskless-sync-delay 0
repl-diskless-load on-empty-db
repl-backlog-size 4mb
"""


def node_config(
    folder: Path, pid_file: Path, log_file: Path, port: int, node_timeout_ms: int
) -> str:
    """Return the configuration of a node that keeps everything in ``folder``.

    The process title stays off: the command line, which names the configuration file, is how a
    node's process is told from another that got its process id later.
    """
    return _TEMPLATE.format(
        host=HOST,
        port=port,
        folder=_quoted(folder),
        pid_file=_quoted(pid_file),
        log_file=_quoted(log_file),
        node_timeout_ms=node_timeout_ms,
    )


def _quoted(path: Path) -> str:
    """Return a path as the servers' configuration reader takes it, whatever is in it."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'
