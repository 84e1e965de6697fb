"""A gateway that shows nothing of itself, in the lab by its command: audited by what it does with prompts.

It is our own, with its index view off, so that it can be right, and wrong in a known way.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from resync.kits.waits import wait_until
from resync.lab.handle import LabHandle
from resync.run import auditing, settings
from resync.run.clusterworld import ClusterWorld
from resync.run.evidence import EvidenceFile
from resync.run.judgements import Judgement, Outcome
from resync.run.runs import Run

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(180)]

FreshLab = Callable[..., LabHandle]


class Foreign:
    """A lab with the foreign gateway, started again with other arguments at will."""

    def __init__(self, fresh_lab: FreshLab, folder: Path) -> None:
        self._folder = folder
        self._arguments = folder / "arguments"
        self._arguments.write_text("")
        command = f"exec {sys.executable} -m resync.gateway --no-index-view $(cat {self._arguments})"
        self.lab = fresh_lab("--gateway-cmd", command, "--no-load")
        self._audits = 0
        self.wait_until_it_follows()

    def again(self, arguments: str) -> None:
        self._arguments.write_text(arguments)
        self.lab.replace_pod("gateway-0")
        self.wait_until_it_follows()

    def wait_until_it_follows(self) -> None:
        """Until it has a health check of every engine: only to begin with, the audit asks for none of it."""

        def follows() -> bool:
            page = requests.get(f"{self.lab.gateway_url}/metrics", timeout=5).text
            known = [
                line for line in page.splitlines() if line.startswith("resync_gateway_engine_rtt_seconds{")
            ]
            return len(known) == 3

        wait_until(follows, what="the gateway to know three engines", timeout_s=30)

    def audited(self) -> Judgement:
        self._audits += 1
        run = Run(EvidenceFile(self._folder / f"{self._audits}.jsonl"), f"foreign-{self._audits}")
        run.settings = settings.parse(
            {"kubeconfig": str(self.lab.kubeconfig), "prometheus_url": self.lab.prometheus_url}
        )
        run.world = world = ClusterWorld(run.settings)
        try:
            run.engines, run.gateways = world.engines(), world.gateways()
            return auditing.audit(run, "after")
        finally:
            world.close()


def test_it_is_found_right_when_it_is_and_wrong_when_it_is_not(fresh_lab: FreshLab, tmp_path: Path) -> None:
    foreign = Foreign(fresh_lab, tmp_path)
    right = foreign.audited()
    assert right.outcome is Outcome.HELD, right.detail

    # Every block of an event hangs on the event's parent: of a prompt only the first one is found.
    foreign.again("--flaw unchained:0")
    unchained = foreign.audited()
    assert unchained.outcome is Outcome.BREACHED, unchained.detail
    assert unchained.finding is not None
    assert unchained.finding.kind == "missing prompts"

    # Applies nothing that any engine says.
    foreign.again("--flaw frozen-sequence:0")
    deaf = foreign.audited()
    assert deaf.outcome is Outcome.BREACHED, deaf.detail
