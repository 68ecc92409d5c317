"""What a cluster's folder says about the cluster: ``cluster.json``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from omx_tasks.errors import ClusterError

RECORD_NAME = "cluster.json"
LOCK_NAME = "lock"
NODES_NAME = "nodes"
_DRAFT_NAME = "cluster.json.new"
_NAMES_BEFORE_RECORD = {LOCK_NAME, _DRAFT_NAME}
_FORMAT = 1


@dataclass(frozen=True)
class Record:
    """The shape of a cluster; ``formed`` is false until its nodes were one cluster for once.

    ``ports`` begin with those of the nodes that were made masters. ``server`` is the path of the
    program, ``version`` its name and version when the cluster was last started.
    """

    masters: int
    replicas: int
    ports: tuple[int, ...]
    node_timeout_ms: int
    server: str
    version: str
    formed: bool


def read_record(directory: Path) -> Record | None:
    """Return the record in a folder, None where there is none yet.

    Raises ClusterError where the folder is none, holds something else, or cannot be read.
    """
    try:
        names = {path.name for path in directory.iterdir()}
        if RECORD_NAME in names:
            return _parse(directory / RECORD_NAME)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise folder_error(directory, error) from error
    foreign = sorted(names - _NAMES_BEFORE_RECORD)
    if foreign:
        raise ClusterError(
            f"the folder {directory} holds something else ({foreign[0]}) and no cluster: "
            "name an empty or new folder with --dir"
        )
    return None


def write_record(directory: Path, record: Record) -> None:
    """Write the record, whole or not at all. Raises OSError."""
    draft = directory / _DRAFT_NAME
    draft.write_text(json.dumps({"format": _FORMAT, **asdict(record)}, indent=2) + "\n")
    draft.replace(directory / RECORD_NAME)


def folder_error(directory: Path, error: OSError) -> ClusterError:
    """Return the error of a folder that cannot be used."""
    reason = error.strerror or str(error)
    return ClusterError(
        f"cannot use the folder {directory} for a cluster: {reason}; "
        "name a folder that you may write to with --dir"
    )


def _parse(path: Path) -> Record:
    try:
        fields = json.loads(path.read_text())
        if fields.pop("format") != _FORMAT:
            raise ValueError("its format is another")
        return Record(**{**fields, "ports": tuple(fields["ports"])})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ClusterError(
            f"{path} is no record of a cluster ({error}): name another folder with --dir"
        ) from error
