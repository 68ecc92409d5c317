"""What a result is stored as: its size, and its compression."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery, states
from celery.exceptions import ImproperlyConfigured
from celery.result import GroupResult
from kombu.exceptions import EncodeError

from omx_tasks.broker.transport import register
from omx_tasks.errors import ConfigurationError
from omx_tasks.results.limits import ResultTooLargeError

LARGE = "result " * 10_000
Make = Callable[..., Any]


@pytest.fixture
def make(cluster_url: str) -> Iterator[Make]:
    """Make apps with settings of their own."""
    made: list[Any] = []

    def make(compression: str | None = None, **options: Any) -> Any:
        register()
        app = Celery(f"app-{uuid.uuid4().hex}", broker=cluster_url, backend=cluster_url)
        app.conf.update(
            result_compression=compression, result_backend_transport_options=options,
        )  # fmt: skip
        made.append(app)
        return app

    yield make
    for app in made:
        with contextlib.suppress(ConfigurationError, ImproperlyConfigured):  # as asked for
            app.backend.result_consumer.stop()
            app.backend.store.close()
        app.close()


def _stored(app: Any, task_id: str) -> bytes:
    return bytes(app.backend.get(app.backend.get_key_for_task(task_id)))


@pytest.mark.parametrize("compression", ["gzip", "zlib", "bzip2", "lzma"])
def test_a_large_success_is_stored_compressed_and_read_by_who_does_not_compress(
    make: Make, task_id: str, compression: str
) -> None:
    writer, reader = make(compression), make()
    writer.backend.store_result(task_id, LARGE, states.SUCCESS)
    assert len(_stored(writer, task_id)) < 2_000
    assert reader.AsyncResult(task_id).get(timeout=60) == LARGE
    assert dict(reader.backend.get_many([task_id]))[task_id]["result"] == LARGE


def test_a_compressed_result_is_heard(make: Make, task_id: str) -> None:
    writer, reader = make("gzip"), make()
    reader.backend.on_task_call(None, task_id)
    assert reader.backend.result_consumer._listener._links.wants  # it listens
    writer.backend.store_result(task_id, LARGE, states.SUCCESS)
    assert reader.AsyncResult(task_id).get(timeout=60) == LARGE


def test_a_plain_result_is_read_by_who_compresses(make: Make, task_id: str) -> None:
    writer, reader = make(), make("gzip")
    writer.backend.store_result(task_id, LARGE, states.SUCCESS)
    assert reader.AsyncResult(task_id).get(timeout=60) == LARGE


def test_a_small_result_is_not_compressed(make: Make, task_id: str) -> None:
    app = make("gzip")
    app.backend.store_result(task_id, "small", states.SUCCESS)
    assert _stored(app, task_id).startswith(b"{")
    eager = make("gzip", result_compression_threshold=1)
    other = str(uuid.uuid4())
    eager.backend.store_result(other, "small", states.SUCCESS)
    assert not _stored(eager, other).startswith(b"{")
    assert eager.AsyncResult(other).get(timeout=60) == "small"


def test_a_compressed_success_is_not_overwritten(make: Make, task_id: str) -> None:
    app = make("gzip")
    app.backend.store_result(task_id, LARGE, states.SUCCESS)
    app.backend.store_result(task_id, None, states.STARTED)
    app.backend.mark_as_failure(task_id, ValueError("a later delivery"))
    assert app.AsyncResult(task_id).get(timeout=60) == LARGE


def test_a_large_state_of_ones_own_is_overwritten_with_compression_too(
    make: Make, task_id: str
) -> None:
    app = make("gzip")
    app.backend.store_result(task_id, LARGE, "PROGRESS")
    app.backend.store_result(task_id, "done", states.SUCCESS)
    assert app.AsyncResult(task_id).get(timeout=60) == "done"


def test_an_unknown_compression_is_refused_with_those_that_there_are(make: Make) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"(?s)'frob'.*application/x-gzip"):
        assert make("frob").backend


def test_a_result_that_is_too_large_is_refused_with_size_and_limit(
    make: Make, task_id: str
) -> None:
    app = make(result_size_limit=1_000)
    with pytest.raises(
        ResultTooLargeError, match=r"70,\d\d\d bytes is more than the 1,000"
    ) as error:
        app.backend.store_result(task_id, LARGE, states.SUCCESS)
    assert isinstance(error.value, EncodeError), "Celery makes the task fail with it"
    assert app.AsyncResult(task_id).state == "PENDING"


def test_it_is_the_stored_size_that_counts(make: Make, task_id: str) -> None:
    app = make("gzip", result_size_limit=1_000)
    app.backend.store_result(task_id, LARGE, states.SUCCESS)
    assert app.AsyncResult(task_id).get(timeout=60) == LARGE


def test_bytes_count_and_not_letters(make: Make, task_id: str) -> None:
    app = make(result_size_limit=1_000)
    app.conf.result_serializer = "yaml"
    with pytest.raises(ResultTooLargeError):
        app.backend.store_result(task_id, "€" * 400, states.SUCCESS)


def test_a_failure_that_is_too_large_is_stored_as_the_failure_that_it_is(
    make: Make, task_id: str
) -> None:
    app = make(result_size_limit=1_000)
    app.backend.mark_as_failure(task_id, ValueError(LARGE), traceback=LARGE)
    with pytest.raises(ResultTooLargeError, match="more than the 1,000"):
        app.AsyncResult(task_id).get(timeout=60)
    assert app.AsyncResult(task_id).state == "FAILURE"


def test_a_group_that_is_too_large_to_save_says_so(make: Make) -> None:
    app = make(result_size_limit=1_000)
    members = [app.AsyncResult(str(uuid.uuid4())) for _ in range(100)]
    with pytest.raises(ResultTooLargeError):
        GroupResult("large", members, app=app).save(app.backend)


@pytest.mark.parametrize("value", [0, -1, "64", None, True])
@pytest.mark.parametrize("name", ["result_size_limit", "timeout", "result_compression_threshold"])
def test_an_option_that_is_no_number_is_refused(make: Make, name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}={value!r} is no number above 0"):
        assert make(**{name: value}).backend
