"""Fixtures every test folder may use: the Prometheus program, and a warm lab shared by the whole session."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from resync.lab.handle import LabHandle, running_lab
from resync.lab.prometheus import find_binary

FreshLab = Callable[..., LabHandle]

# On a clean checkout Hypothesis builds its table of Unicode inside the first draw of text, and a busy machine
# makes any example slow: neither is a defect of what is tested. A hang meets the time limit of its test.
settings.register_profile("resync", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("resync")


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
