"""Handlers are declared and found, or it is said what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from omx_tasks.errors import ConfigurationError
from omx_tasks.events.handlers import Handler, discover, handler_of, on


@pytest.fixture(autouse=True)
def _modules_of_this_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def test_handlers_are_found_in_the_modules_that_are_named() -> None:
    handlers = {handler.name: handler for handler in discover("handlers_of_test, ")}
    assert sorted(handlers) == ["handlers_of_test.count", "handlers_of_test.ship"]
    assert handlers["handlers_of_test.ship"].patterns == ("order.paid", "order.*")
    assert handlers["handlers_of_test.count"].priorities == (0, 1)


@pytest.mark.parametrize(
    ("modules", "says"),
    [
        ("no_such_module", "the module of handlers 'no_such_module' cannot be imported"),
        ("json", "the module of handlers 'json' has no handler: declare one with @on"),
    ],
)
def test_a_module_without_handlers_is_refused(modules: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        discover(modules)


def test_a_wrong_declaration_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'Order' matches no type of event"):
        on("Order")
    with pytest.raises(ConfigurationError, match="needs a pattern"):
        on()


def test_the_wait_doubles_up_to_a_limit() -> None:
    handler = handler_of(on("a.b", backoff=2)(lambda event: None))
    assert isinstance(handler, Handler)
    assert [handler.delay(n) for n in (1, 2, 3, 20)] == [2, 4, 8, 300]
