"""Publishing many messages at once: ``with producer.batch(): …`` of kombu 5.7.

Messages are routed one by one and gathered by queue, or by partition; a flush stores each one's in one script, all of
them at the same time. A flush that failed can be made again: what was stored already is known by its id.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from omx_tasks.broker import queues
from omx_tasks.broker.queues import Posting
from omx_tasks.store.client import StoreError
from omx_tasks.store.link import ReplyError

if TYPE_CHECKING:
    from omx_tasks.broker.channel import Channel

#: Messages that one script stores at most: a server does nothing else meanwhile.
MOST = 500


class PublishBatch:
    """The messages of one producer that are not stored yet."""

    def __init__(self, channel: Channel, max_size: int) -> None:
        self.channel = channel
        self.max_size = max_size
        #: How many messages were stored by earlier flushes.
        self.stored = 0
        self._size = 0
        self._postings: dict[str, list[Posting]] = defaultdict(list)

    def __repr__(self) -> str:
        return f"<PublishBatch {self._size}/{self.max_size}>"

    def publish(self, message: Any, **kwargs: Any) -> Any:
        """Route a message; it is stored by the next flush."""
        result = self.channel.basic_publish(message, batch=self, **kwargs)
        if self.full:
            self.flush()
        return result

    @property
    def full(self) -> bool:
        """Whether it is time for a flush."""
        return self._size >= self.max_size

    def add(self, queue: str, posting: Posting) -> None:
        """Take a message that was routed to a queue."""
        self._postings[self.channel.place(queue, posting.id)].append(posting)
        self._size += 1

    def flush(self) -> None:
        """Store what was gathered; raises when any of it was not."""
        calls = [
            queues.publish(queue, postings[first : first + MOST])
            for queue, postings in self._postings.items()
            for first in range(0, len(postings), MOST)
        ]
        for reply in self.channel.store.run_many(calls):
            if isinstance(reply, ReplyError):
                raise StoreError(
                    f"some of {self._size} messages could not be stored, others may be: {reply}"
                )
        self.stored += self._size
        self.discard()

    def discard(self) -> None:
        """Give up what was gathered."""
        self._postings.clear()
        self._size = 0

    def close(self) -> None:
        """End the batch."""
        self.discard()
