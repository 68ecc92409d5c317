"""Signals that arrive while something must not be left half done."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from omx_tasks.deploy.interrupts import SIGNALS, held_back, ignored
from omx_tasks.deploy.temporary import temporary_folder


@pytest.fixture(params=SIGNALS, ids=lambda number: number.name)
def number(request):
    """A signal that raises KeyboardInterrupt, as both do in ``omx``."""
    before = signal.signal(request.param, signal.default_int_handler)
    yield request.param
    signal.signal(request.param, before)


def test_a_signal_that_is_held_back_is_raised_at_the_end(number):
    steps = []
    with pytest.raises(KeyboardInterrupt), held_back() as asked:
        signal.raise_signal(number)
        steps.append(asked.is_set())
    assert steps == [True]


def test_without_a_signal_nothing_is_raised(number):
    with held_back() as asked:
        pass
    assert not asked.is_set()
    assert signal.getsignal(number) is signal.default_int_handler


def test_an_error_is_not_hidden_by_a_signal_that_is_held_back(number):
    with pytest.raises(ValueError, match="broken"), held_back():
        signal.raise_signal(number)
        raise ValueError("broken")


def test_an_ignored_signal_interrupts_nothing_however_often_it_comes(number):
    with ignored():
        for _ in range(3):
            signal.raise_signal(number)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


def test_in_another_thread_the_handlers_are_left_alone(number):
    seen = []

    def work() -> None:
        with held_back(), ignored():
            seen.append(signal.getsignal(number))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_a_temporary_folder_is_gone_after_an_interrupt(number, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt), temporary_folder("omx-") as folder:
        (folder / "deep" / "er").mkdir(parents=True)
        assert folder.parent == Path(tmp_path)
        signal.raise_signal(number)
    assert list(tmp_path.iterdir()) == []
