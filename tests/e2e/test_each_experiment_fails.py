"""Each experiment beside the delay fails on a gateway with a defect, for the reason that was predicted."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from resync.lab.handle import LabHandle

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

Run = Any
FreshLab = Callable[..., LabHandle]
QUICK = {"RESYNC_FAULT_DURATION": "6s", "RESYNC_CONVERGENCE_LIMIT": "3s"}
SURGE = {**QUICK, "RESYNC_FAULT_DURATION": "8s"}
"""A rush is known after two seconds."""

LOST = r"[\d.]+ (missing|phantom) blocks on {}"
DEFECTS = {
    "network-partition-reset": (["--flaw", "gap-only-counted"], QUICK, LOST),
    "pod-failure": (["--flaw", "kept-on-restart"], QUICK, r"[\d.]+ phantom blocks on {}"),
    "high-load": (["--flaw", "lost-in-a-rush"], SURGE, LOST),
    "network-partition": (
        ["--flaw", "gap-only-counted", "--heartbeat-interval-s", "0.5", "--heartbeat-timeout-s", "1.5"],
        QUICK,
        LOST,
    ),
}
"""What the gateway is started with, what the run is, what it has to say of the pod it was on.

A partition loses nothing until the gateway gives the connection up: here it does so sooner than usual.
"""

MARKS = {
    "network-partition": [pytest.mark.nightly],
    "pod-failure": [pytest.mark.nightly],
    "high-load": [pytest.mark.nightly, pytest.mark.alone],
}
"""Of entries that are lost, and of entries that stay after a kill, every test run finds one."""
TIER = [pytest.param(name, marks=MARKS.get(name, [])) for name in DEFECTS]


@pytest.mark.own_lab
@pytest.mark.parametrize("experiment", TIER)
def test_a_defect_fails_for_the_predicted_reason(fresh_lab: FreshLab, run: Run, experiment: str) -> None:
    """In a lab that began with it: who comes later and asks for no replay is wrong before the fault."""
    flags, settings, says = DEFECTS[experiment]
    ran = run(experiment, where=fresh_lab(*(f"--gateway-arg={flag}" for flag in flags)), **settings)
    assert (ran.code, ran.line["verdict"]) == (1, "fail"), ran.told()
    (pod,) = ran.line["effect"]["pods"]
    engine = r"default/engine-\d" if experiment == "high-load" else re.escape(pod)
    assert re.search(says.format(engine), ran.line["reason"]), ran.told()
    ran.is_honest()
