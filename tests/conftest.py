"""Fixtures every test folder may use: the Prometheus program, and a warm lab shared by the whole session."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
import requests
from hypothesis import HealthCheck, settings

from resync.kits.waits import wait_until
from resync.lab import children
from resync.lab.handle import LabHandle, running_lab
from resync.lab.prometheus import Target, find_binary, prepared

pytest_plugins = ["scenario_claims", "findings"]

FreshLab = Callable[..., LabHandle]
Serving = Callable[[Path, Sequence[Target]], AbstractContextManager[str]]

# On a clean checkout Hypothesis builds its table of Unicode inside the first draw of text, and a busy machine
# makes any example slow: neither is a defect of what is tested. A hang meets the time limit of its test.
settings.register_profile("resync", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("resync")


@pytest.fixture(scope="session")
def prometheus_bin() -> Path:
    """The Prometheus server program the lab would use."""
    return find_binary()


LISTENING = re.compile(r'msg="?Listening on"? .*?address=(\S+)')
"""In the log, which also says which port it became where 0 was asked for."""


@contextmanager
def serving(binary: Path, directory: Path, targets: Sequence[Target]) -> Iterator[str]:
    """A Prometheus without a lab, on a free port, once it answers queries; its URL."""
    command, log = prepared(binary, directory, targets, listen="127.0.0.1:0"), directory / "log"
    server = children.launch(command, log)
    try:
        found = wait_until(
            lambda: LISTENING.search(log.read_text()),
            what="Prometheus to say where it listens",
            timeout_s=20,
        )
        assert found is not None
        url = f"http://{found[1]}"
        # It listens before it answers: until its storage is open, every query gets a 503.
        wait_until(
            lambda: requests.get(f"{url}/-/ready", timeout=5).ok, what="Prometheus to be ready", timeout_s=20
        )
        yield url
    finally:
        children.end(server, 2.0)


@pytest.fixture(scope="session")
def served(prometheus_bin: Path) -> Serving:
    """Starts a Prometheus that scrapes what it is told, for a `with`: its URL."""
    return lambda directory, targets: serving(prometheus_bin, directory, targets)


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
