"""Celery's chords, with their parts counted by us: Celery is asked only when the last part returned.

Celery's own key-value backend restores the whole header for each part that returns, and takes the header's length
for the number of parts; a group inside the header has more of them. Here the count and the size are kept
together (`chords`), a part may be added on the way, and a chord that is applied again is counted anew.
"""

from __future__ import annotations

import threading
from typing import Any
from uuid import uuid4

from celery._state import get_current_worker_task
from celery.backends.base import BaseKeyValueStoreBackend
from celery.result import result_from_tuple
from celery.utils.functional import _regen
from kombu.utils.encoding import bytes_to_str

from omx_tasks.results import chords
from omx_tasks.results.chords import Count
from omx_tasks.store.client import Store


class ChordBackend(BaseKeyValueStoreBackend):
    """The part of a backend that keeps ordinary chords."""

    implements_incr = True
    store: Store

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._completing = threading.local()

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Say how many parts a chord has, before the last of them is published."""
        key = self._chord(group_id)
        self.store.command(key, "HSET", key, "size", chord_size)

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """Add a part to a chord, from one of its parts."""
        self.store.run(chords.add(self._chord(chord_id), result.id, result.as_tuple()))

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """Count a part; the last one has Celery publish the chord's body."""
        if not request.group:
            return
        key = self._chord(request.group)
        count = chords.counted(self.store.run(chords.count(key, request.id, request.group_index)))
        size = count.size or request.chord.get("chord_size")
        if not count.number:
            return
        if count.number != size:
            self._keep_part(key, request)
            return
        request.chord["chord_size"] = size
        self._completing.count, self._completing.key = count, key
        try:
            super().on_chord_part_return(request, state, result, **kwargs)
        finally:
            self._completing.count = None

    # --- what Celery asks meanwhile -----------------------------------------------------------------

    def incr(self, key: Any) -> int:  # noqa: ARG002
        """Return the number of the part that returned: it is counted already."""
        return self._completed.number if self._completed else 0

    def delete(self, key: Any) -> None:
        """Remove a value; of a chord that ended, the mark that it is over stays for a while."""
        name = bytes_to_str(key)
        if self._completed and name == self._completing.key:
            self.store.run(chords.over(name))
        else:
            self.store.command(name, "DEL", name)

    def restore_group(self, group_id: str, cache: bool = True) -> Any:
        """Return a group; of a chord that ends, with what was added, and also when its header was never stored."""
        group = super().restore_group(group_id, cache=cache)
        if self._completed is None:
            return group
        if group is None:
            parts = [self.app.AsyncResult(part) for part in self._completed.parts]
            return self.app.GroupResult(group_id, parts)
        added = [result_from_tuple(result, self.app) for result in self._completed.added]
        return self.app.GroupResult(group.id, [*group.results, *added], parent=group.parent)

    def is_cached(self, task_id: str) -> bool:
        """Whether a result was read: Celery looks among these for the part that failed."""
        return bool(super().is_cached(task_id)) or (
            self._completed is not None and task_id in self._completed.parts
        )

    def _apply_chord_incr(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        task = get_current_worker_task()
        run = (task.request.id if task else None) or uuid4().hex
        key = self._chord(header_result_args[0])
        self.store.run(chords.begin(key, run, keep=self.chord_expires))
        if not isinstance(header_result_args[1], _regen):  # a generator is unrolled as it is sent
            super()._apply_chord_incr(header_result_args, body, **kwargs)

    def _keep_part(self, key: str, request: Any) -> None:
        """Let the results that the last part will read live as long as the chord."""
        results = (self.get_key_for_group(request.group), self.get_key_for_task(request.id))
        lives = [(key, self.chord_expires)]
        lives += [(bytes_to_str(result), self._chord_result_expires) for result in results]
        self.store.commands([(name, life(name, seconds)) for name, seconds in lives])

    def _chord(self, group_id: str) -> str:
        return str(bytes_to_str(self.get_key_for_chord(group_id)))

    @property
    def _completed(self) -> Count | None:
        """The chord whose last part returned and which Celery ends in this thread, if there is one."""
        return getattr(self._completing, "count", None)


def life(key: str, seconds: float | None) -> tuple[Any, ...]:
    """Return the command that lets a key go after so many seconds (None or 0: that keeps it)."""
    return ("EXPIRE", key, int(seconds)) if seconds else ("PERSIST", key)
