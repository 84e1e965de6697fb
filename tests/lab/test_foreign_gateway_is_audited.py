"""A gateway that shows nothing of itself, in the lab by its command: audited by what it does with prompts.

It is our own, with its index view off, so that it can be right, and wrong in a known way.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from resync.kits.waits import wait_until
from resync.lab.handle import LabHandle

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

    def audited(self) -> tuple[int, dict[str, Any]]:
        """Exit code and answer of `resync audit`."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("RESYNC_")}
        done = subprocess.run(
            [str(Path(sys.executable).with_name("resync")), "audit"],
            cwd=self._folder,
            env={**kept, **self.lab.env},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)["resync-audit"]
        assert Path(said["evidence"]).is_file()
        return done.returncode, said


def test_it_is_found_right_when_it_is_and_wrong_when_it_is_not(fresh_lab: FreshLab, tmp_path: Path) -> None:
    foreign = Foreign(fresh_lab, tmp_path)
    code, right = foreign.audited()
    assert (code, right["outcome"]) == (0, "held"), right

    # Every block of an event hangs on the event's parent: of a prompt only the first one is found.
    foreign.again("--flaw unchained:0")
    code, unchained = foreign.audited()
    assert (code, unchained["outcome"]) == (1, "breached"), unchained
    assert " missing prompts on default/engine-" in unchained["detail"]

    # Applies nothing that any engine says.
    foreign.again("--flaw frozen-sequence:0")
    code, deaf = foreign.audited()
    assert (code, deaf["outcome"]) == (1, "breached"), deaf
