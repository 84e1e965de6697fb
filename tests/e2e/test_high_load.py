"""More load than usual: a healthy system keeps up, and a load that cannot is no proof of anything."""

from typing import Any

import pytest

from resync.lab.handle import LabHandle

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

Run = Any
SHORT = {"RESYNC_FAULT_DURATION": "5s", "RESYNC_SURGE_RATE": "30"}


@pytest.mark.alone
@pytest.mark.scenario("failure/high-load")
def test_a_healthy_system_keeps_up_with_a_surge(run: Run) -> None:
    ran = run("high-load", **SHORT)
    assert ran.code == 0, ran.told()
    (seen,) = ran.line["effect"]["pods"].values()
    assert seen["asked_per_s"] == 60.0
    assert seen["sent_per_s"] == pytest.approx(60.0, rel=0.25)
    claims = {(c["claim"], c["phase"]): c for c in ran.line["claims"]}
    assert claims["throughput", "fault"]["value"] > 100
    assert claims["apply-latency", "fault"]["value"] < 50
    assert claims["request-errors", "fault"]["value"] <= 0.01
    ran.is_honest()


def test_a_surge_that_could_not_be_sent_proves_nothing(lab: LabHandle, run: Run) -> None:
    """A load that may have two requests in flight cannot send three hundred a second."""
    with lab.replaced("load-0", ["--in-flight-max", "2"]):
        ran = run("high-load", **{**SHORT, "RESYNC_SURGE_RATE": "300"})
        assert "it could not keep up" in ran.told()
        assert ran.line["verdict"] != "pass"
        ran.is_honest()
