"""An engine that does not answer delays no other: not its subscription, not its events, not its requests."""

import signal
from typing import Any

import pytest

pytestmark = pytest.mark.integration

FOLLOWED_S_MAX = 10.0
"""Well below the 20 s that a replay may take to begin: for so long the silent engine keeps its own task."""


@pytest.mark.scenario("errors/replay-port-closed")
def test_an_engine_that_hangs_from_the_start_keeps_nobody_waiting(
    fleet: Any, complete: Any, prompt_of: Any
) -> None:
    """AIBrix subscribes to one pod after the other and waits up to 5 s for each."""
    silent, lively = fleet.engines[0], fleet.engines[1]
    silent.process.send_signal(signal.SIGSTOP)
    try:
        gateway = fleet.gateway()
        gateway.wait_for(
            "the other two",
            lambda page: page.total("resync_gateway_source_exact") == 2,
            timeout_s=FOLLOWED_S_MAX,
        )
        complete(lively, prompt_of(6, seed=1))
        page = gateway.wait_for(
            "its events",
            lambda page: page.value("resync_gateway_applied_sequence", pod_key=lively.pod_key) >= 0,
            timeout_s=FOLLOWED_S_MAX,
        )
        assert page.value("resync_gateway_source_exact", pod_key=silent.pod_key) == 0
        assert complete(gateway, prompt_of(6, seed=1))[1]["target-pod"] == lively.name
    finally:
        silent.process.send_signal(signal.SIGCONT)
    gateway.wait_for("all three", lambda page: page.total("resync_gateway_source_exact") == 3, timeout_s=45.0)
