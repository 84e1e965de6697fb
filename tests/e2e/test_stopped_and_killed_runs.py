"""A run that is stopped heals; after one that was killed the fault ends by itself. Seen from the data path.

The steps are the kinds of evidence record, the record's appearance is the trigger. `make test` covers the
steps at which a fault is or may be in place; the nightly tier all of them, with every signal.
"""

import json
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from resync.cluster.errors import NotFoundError
from resync.cluster.leases import NAME as LEASE
from resync.cluster.statuses import FaultWire
from resync.kits.waits import wait_until
from resync.lab.handle import LabHandle
from resync.run import evidence
from resync.run.records import HEALTHY_KINDS

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

Running = Any
Path_ = Any
Command = Callable[..., Any]
Standing = Callable[[], list[dict[str, Any]]]

LAST = ("verdict-given", "run-ended")
"""When these are on disk the run is over: a signal that comes now changes nothing any more."""

UNDER_FAULT = HEALTHY_KINDS[HEALTHY_KINDS.index("fault-planned") : HEALTHY_KINDS.index("fault-healed") + 1]
TIER = [pytest.param(k, marks=() if k in UNDER_FAULT else pytest.mark.nightly) for k in HEALTHY_KINDS]
STOPPED = [p for p in TIER if p.values[0] not in LAST]
HEALED_WITHIN_S = 5.0
EXPIRED_WITHIN_S = 1.0
"""The mesh reconciles at the expiry; a connection that stood needs a round trip to be fast again."""

QUICK_S = 0.05
"""A round trip without the fault, which adds twice as much."""


def stopped_in_time(running: Running, path: Path_, standing: Standing, number: signal.Signals) -> None:
    running.process.send_signal(number)
    began = time.monotonic()
    wait_until(
        lambda: not standing() and not path.is_slow(),
        what="the fault to be gone, and the delay with it",
        timeout_s=HEALED_WITHIN_S,
    )
    assert time.monotonic() - began < HEALED_WITHIN_S
    ran = running.finished()
    assert ran.code == 2, ran.told()
    assert f"{number.name} stopped the run" in ran.line["reason"], ran.told()
    ran.is_honest()
    assert not standing()


@pytest.mark.parametrize("kind", STOPPED)
@pytest.mark.scenario("failure/stopped-run")
def test_sigterm_heals_and_is_void(brought_to: Running, path: Path_, standing: Standing, kind: str) -> None:
    running = brought_to(kind)
    stopped_in_time(running, path, standing, signal.SIGTERM)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", [k for k in HEALTHY_KINDS if k not in LAST])
def test_sigint_heals_and_is_void(brought_to: Running, path: Path_, standing: Standing, kind: str) -> None:
    running = brought_to(kind)
    stopped_in_time(running, path, standing, signal.SIGINT)


HEALS_NEXT = "window-observed"
"""After it the run asks the mesh to end the fault at once: the kill may come too late to stop that."""


def expires_s(faults: list[dict[str, Any]]) -> float:
    """When what stands ends by itself: creation as the server noted it (whole seconds) plus duration."""
    (one,) = faults
    wire = msgspec.json.decode(json.dumps(one), type=FaultWire)
    return wire.created_s + (wire.duration_s or float("inf"))


@pytest.mark.parametrize("kind", TIER)
@pytest.mark.scenario("failure/killed-run")
def test_after_sigkill_the_fault_ends_by_its_own_expiry_and_is_found(
    lab: LabHandle, brought_to: Running, path: Path_, standing: Standing, *, command: Command, kind: str
) -> None:
    running = brought_to(kind)
    running.process.kill()
    running.finished()
    left = [fault for fault in standing() if "deletionTimestamp" not in fault["metadata"]]
    judged = command("verdict")
    if kind not in LAST:
        assert judged.returncode == 2, judged.stdout
    assert "Traceback" not in judged.stderr
    if left:
        ended_by_itself(path, expires_s(left), slow=kind == "effect-proven")
        assert standing() or kind == HEALS_NEXT, "an expired object stays until it is swept"
    free_the_lease(lab)
    swept = command("sweep")
    assert swept.returncode == 0, swept.stdout
    if kind != HEALS_NEXT:
        assert all(f["metadata"]["name"] in swept.stdout for f in left), swept.stdout
    assert not standing()


def free_the_lease(lab: LabHandle) -> None:
    """A killed run's lease runs out after 10 s; the next test need not wait for that."""
    with lab.cluster() as cluster, suppress(NotFoundError):
        cluster.request("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/{lab.namespace}/leases/{LEASE}")


def ended_by_itself(path: Path_, at_s: float, *, slow: bool) -> None:
    """Slow until the expiry (where the kill came after the proof), fast soon after it."""
    while time.time() < at_s - 0.2:
        stood = path.is_slow()
        looked_s = time.time()
        assert stood or not slow or looked_s > at_s, (
            "the fault ended before its expiry, with nobody to heal it"
        )
    wait_until(
        lambda: not path.is_slow(),
        what="the data path to be back",
        timeout_s=max(0.0, at_s - time.time()) + EXPIRED_WITHIN_S,
    )
    wait_until(lambda: path.round_trip_s() < QUICK_S, what="a round trip as before", timeout_s=5.0)


def marked(mark: str) -> list[int]:
    """Every process that carries the lab's mark in its environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue  # ended meanwhile, or not ours
    return found


@pytest.mark.own_lab
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda s: s.name)
def test_a_lab_that_the_run_had_started_ends_with_it(
    brought_to: Running, tmp_path: Path, number: signal.Signals
) -> None:
    state_dir = tmp_path / "state"
    running = brought_to(
        "effect-proven" if number is signal.SIGKILL else "target-joined",
        where=None,
        RESYNC_STATE_DIR=str(state_dir),
    )
    supervisor = json.loads((state_dir / "lab.json").read_text())["pid"]
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    text = Path(f"/proc/{children[0]}/environ").read_text()
    mark = next(entry for entry in text.split("\0") if entry.startswith("RESYNC_LAB="))
    assert len(marked(mark)) > len(("engine-0", "engine-1", "engine-2", "gateway-0"))
    running.stop(number)
    wait_until(
        lambda: not marked(mark) and not Path(f"/proc/{supervisor}").exists(),
        what="every process of the lab to be gone",
        timeout_s=10.0,
    )
    assert evidence.read(evidence.latest_run(tmp_path / ".resync" / "runs"))
    assert state_dir.is_dir()
