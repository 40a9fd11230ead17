"""Tiers of the suite: marks by fixture, marks that must be there, and the number of examples of property tests."""

from __future__ import annotations

import sys
from collections.abc import Generator

import pytest

STARTS_JVM = {"spark", "run_job", "start"}
"""Fixtures that start a JVM, here or in another process.

A test whose parameter ``engine`` is ``spark`` starts one too. A test that starts one in another way is marked by hand.
"""
FRAMEWORKS = {"torch", "tensorflow"}
"""Frameworks that load for seconds and hold much memory. Their tests have a mark of the same name and processes of
their own."""
FEWEST_EXAMPLES = 10
NO_JAVA = "/a-test-without-the-mark-jvm-starts-no-java"
LOADED = pytest.StashKey[set[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--examples",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="multiply the number of examples that each property test draws",
    )


@pytest.hookimpl(tryfirst=True)  # before tests are selected by their marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        callspec = getattr(item, "callspec", None)
        on_spark = callspec is not None and callspec.params.get("engine") == "spark"
        if on_spark or STARTS_JVM.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("jvm")
    if "hypothesis" in sys.modules:
        scale_examples(items, config.getoption("examples"))


def scale_examples(items: list[pytest.Item], factor: float) -> None:
    """Multiply the number of examples of each property test, but leave it at least ``FEWEST_EXAMPLES``.

    No example has a deadline: how long one takes depends on what else the machine does.
    """
    from hypothesis import is_hypothesis_test, settings

    functions = {item.function for item in items if isinstance(item, pytest.Function)}
    for function in filter(is_hypothesis_test, functions):
        given = function._hypothesis_internal_use_settings
        fewest = min(FEWEST_EXAMPLES, given.max_examples)
        scaled = max(fewest, round(factor * given.max_examples))
        function._hypothesis_internal_use_settings = settings(given, max_examples=scaled, deadline=None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Keep Java from a test that is not marked ``jvm``, so that no mark is forgotten."""
    with pytest.MonkeyPatch.context() as patch:
        if item.get_closest_marker("jvm") is None:
            patch.setenv("JAVA_HOME", NO_JAVA)  # Spark's scripts take java from there before they look at the PATH
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[LOADED] = FRAMEWORKS.intersection(sys.modules)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Fail a test that is the first to load a framework and has no mark for it."""
    yield
    before = item.stash[LOADED]
    loaded = FRAMEWORKS.intersection(sys.modules) - before
    missing = [name for name in sorted(loaded) if item.get_closest_marker(name) is None]
    assert not missing, f"loads {missing[0]}: mark it with @pytest.mark.{missing[0]}"


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave out the plugin's part of the summary where no test used it: it would import hypothesis, for a second."""
    plugins = session.config.pluginmanager
    if "hypothesis" not in sys.modules and plugins.has_plugin("hypothesispytest"):
        plugins.unregister(name="hypothesispytest")
