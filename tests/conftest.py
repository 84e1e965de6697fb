"""Fixtures every test folder may use: the Prometheus program, and a warm lab shared by the whole session."""

from pathlib import Path

import pytest

from resync.lab.prometheus import find_binary


@pytest.fixture(scope="session")
def prometheus_bin() -> Path:
    """The Prometheus server program the lab would use."""
    return find_binary()
