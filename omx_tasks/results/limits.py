"""How large a stored result may be, and from which size on it is compressed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from kombu.exceptions import EncodeError

from omx_tasks.errors import ConfigurationError


class ResultTooLargeError(EncodeError):
    """A result has more bytes than one may have; its task failed because of that."""


@dataclass(frozen=True)
class Limits:
    """The numbers in ``result_backend_transport_options``."""

    #: Seconds that one request may take.
    timeout: float = 30.0
    #: Bytes that one result may have as it is stored.
    result_size_limit: float = 64 * 1024 * 1024
    #: Bytes above which a success is compressed, where ``result_compression`` says how.
    result_compression_threshold: float = 1024

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Limits:
        """Read them; raises `ConfigurationError` naming what is no number above 0."""
        given = {field.name: options[field.name] for field in fields(cls) if field.name in options}
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                raise ConfigurationError(
                    f"result_backend_transport_options: {name}={value!r} is no number above 0."
                )
        return cls(**given)

    def too_large(self, value: bytes) -> ResultTooLargeError | None:
        """Return the error of a value that may not be stored."""
        if len(value) <= self.result_size_limit:
            return None
        return ResultTooLargeError(
            f"a result of {len(value):,} bytes is more than the {self.result_size_limit:,.0f} that one may have: "
            "keep such data elsewhere and return where it is, set result_compression, or raise result_size_limit "
            "in result_backend_transport_options"
        )
