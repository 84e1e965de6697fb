"""`@pytest.mark.scenario("group/case")`: a test says which `scenarios` it proves.

The names go with each report, so that they come back from the workers of pytest-xdist. `--scenarios FILE`
appends those of every test that passed: two calls of pytest may write into one file.
"""

from collections.abc import Iterable
from pathlib import Path

import pytest
from scenarios import GROUPS, SCENARIOS

PROPERTY = "scenario"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--scenarios", type=Path, metavar="FILE", help="append the scenarios of tests that passed"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "scenario(*names): which of docs/scenarios.md this test proves")
    record = config.getoption("--scenarios")
    if record and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Passed(record))


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    for item in items:
        for name in claimed(item):
            item.user_properties.append((PROPERTY, name))


def claimed(item: pytest.Item) -> Iterable[str]:
    """The names that a test claims; UsageError for one that there is not, or not for this kind of test."""
    for name in [name for mark in item.iter_markers("scenario") for name in mark.args]:
        if name not in SCENARIOS:
            raise pytest.UsageError(f"{item.nodeid}: docs/scenarios.md has no scenario {name!r}")
        if GROUPS[SCENARIOS[name].group].e2e and item.get_closest_marker("e2e") is None:
            raise pytest.UsageError(f"{item.nodeid}: {name} is proven by an e2e test only")
        yield name


class Passed:
    """Notes the scenarios of tests that passed."""

    def __init__(self, record: Path) -> None:
        self._record = record
        self._names: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self._names.update(str(name) for key, name in report.user_properties if key == PROPERTY)

    def pytest_sessionfinish(self) -> None:
        self._record.parent.mkdir(parents=True, exist_ok=True)
        with self._record.open("a", encoding="utf-8") as record:
            record.writelines(f"{name}\n" for name in sorted(self._names))
