"""The errors of the product, grouped by who can act.

::

    OmxError
    ├── UsageError              the user can mend it; nothing was queued (exit code 2)
    │   ├── GraphError          the graph file or object
    │   ├── ConfigurationError  settings, the server file, a template
    │   └── NotFoundError       a run, server or tool that does not exist
    ├── UnavailableError        the broker or cluster cannot be reached (exit code 2 before a run, 1 in it)
    │   ├── UnconfirmedError    it was not confirmed in time that something is stored: it may be, or not (1)
    │   └── ClusterError        the embedded cluster cannot be made or reached
    └── OperationError          one operation failed; carries a kind that a program can switch on

Every message names the place and says what to do. Errors of drivers (redis, mcp, jmespath, pydantic)
are translated where they enter: nothing above ``store``, ``mcp`` and ``graph`` sees them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OmxError(Exception):
    """Anything that this product raises on purpose."""


class UsageError(OmxError):
    """What was asked for is wrong, and the one who asked can mend it."""


class GraphError(UsageError):
    """A graph is malformed; the message names the file and the operation."""


class ConfigurationError(UsageError):
    """A setting, server file or template is wrong; the message names it and the remedy."""


class NotFoundError(UsageError):
    """A run, server, tool or template of that name does not exist."""


class UnavailableError(OmxError):
    """The broker could not be reached or did not answer in time."""


class UnconfirmedError(UnavailableError):
    """What was to be stored may have been stored, or not; the message says what can be done about it."""


class ClusterError(UnavailableError):
    """The embedded cluster could not be created, started or reached."""


class OperationError(OmxError):
    """One operation failed.

    ``kind`` is one of:

    - ``tool``: a result with ``is_error``; ``protocol``: an MCP error; ``arguments``: refused before the call
    - ``timeout``; ``connection``: the server went away; ``server``: it cannot start
    - ``client_request``: the server asked the client for sampling, elicitation or roots
    - ``reference``: a reference could not be resolved; ``foreach``: not a list; ``size``: too large an output
    - ``cancelled``: its run was cancelled
    - ``lost``: its task was revoked or its worker died; ``internal``: a fault of the agent's own

    ``retry_after`` is in how many seconds the server wants to be asked again, where it said so; ``taken`` is False
    where it is known that the server did not take the call, so that nothing was done.
    """

    def __init__(
        self, kind: str, message: str, retry_after: float | None = None, *, taken: bool = True
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.retry_after = retry_after
        self.taken = taken

    def as_json(self) -> dict[str, str]:
        """Return the form that results and the command line show: ``{"kind", "message"}``."""
        return {"kind": self.kind, "message": self.message}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known word, or ``""`` where none is close."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""
