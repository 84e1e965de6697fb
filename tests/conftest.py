"""Fixtures every test folder may use: the Prometheus program, and a warm lab shared by the whole session."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from resync.lab.handle import LabHandle, running_lab
from resync.lab.prometheus import find_binary

FreshLab = Callable[..., LabHandle]


@pytest.fixture(scope="session")
def prometheus_bin() -> Path:
    """The Prometheus server program the lab would use."""
    return find_binary()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHandle]:
    """A warm lab for the whole session. Leave it as you found it: `with lab.replaced(...)` does."""
    with running_lab(tmp_path_factory.mktemp("lab")) as handle:
        yield handle


@pytest.fixture
def fresh_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreshLab]:
    """Starts labs of this test alone: `fresh_lab("--no-load", ...)`, any option of `resync lab up`."""
    with ExitStack() as labs:
        yield lambda *options: labs.enter_context(running_lab(tmp_path_factory.mktemp("fresh-lab"), *options))
