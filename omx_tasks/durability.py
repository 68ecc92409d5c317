"""What a write has to outlive before it counts as stored, and what counts where no replica is left.

::

    memory    the master has it; what it took in its last moment is lost when it dies before its replica had it
    replica   a replica has it, too: the death of any one machine loses nothing
    fsync     both have it on disk: nor does a power cut of both (Redis 7.2 or Valkey, with ``appendonly yes``)

A shard without a connected replica cannot do better than ``memory``: ``accept`` takes that and says so, ``refuse``
fails until a replica is back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from omx_tasks.errors import ConfigurationError, did_you_mean

Choice = TypeVar("Choice", bound=StrEnum)


class Durability(StrEnum):
    """What an acknowledged write outlives."""

    MEMORY = "memory"
    REPLICA = "replica"
    FSYNC = "fsync"


class WithoutReplica(StrEnum):
    """What becomes of a write in a shard that has no replica now."""

    ACCEPT = "accept"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Promise:
    """What a client promises of what it has written, as Celery's transport options ask for."""

    durability: Durability = Durability.REPLICA
    without_replica: WithoutReplica = WithoutReplica.ACCEPT

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Promise:
        """Read ``durability`` and ``without_replica``; raises `ConfigurationError` naming what is neither."""
        return cls(
            _choice(options, "durability", cls.durability),
            _choice(options, "without_replica", cls.without_replica),
        )

    def options(self) -> dict[str, str]:
        """Return the options that say the same."""
        return {"durability": str(self.durability), "without_replica": str(self.without_replica)}


#: What is promised where nothing else is asked for.
SAFE = Promise()


def _choice(options: Mapping[str, Any], name: str, default: Choice) -> Choice:
    given = str(options.get(name, default))
    known = [str(choice) for choice in type(default)]
    if given not in known:
        meant = did_you_mean(given, known)
        raise ConfigurationError(f"{name}={given!r}: there are {', '.join(known)}.{meant}")
    return type(default)(given)
