"""A whole lab: comes up healthy, is served by every part, gives pods back, leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from resync.cluster.pods import list_pods
from resync.kits.waits import wait_until
from resync.lab import state
from resync.lab.ending import ORDERLY_TIMEOUT_S
from resync.lab.handle import LabHandle, running_lab
from resync.lab.manifests import LabOptions

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

RESYNC = [sys.executable, "-c", "from resync.cli import main; main()", "lab"]
FreshLab = Callable[..., LabHandle]
LISTENING = "0A"


the_one_lab = pytest.mark.xdist_group("the one lab")
"""Of several workers one runs them all, and starts one lab for them."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHandle]:
    """A warm lab, not for the whole session: it takes half a core from whatever runs beside it."""
    with running_lab(tmp_path_factory.mktemp("lab")) as handle:
        yield handle


def marked(mark: str) -> list[int]:
    """Every process that carries the lab's mark in its environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue  # ended meanwhile, or not ours
    return found


def mark_of(supervisor: int) -> str:
    """RESYNC_LAB=<value>, as it stands in the environment of the lab's children."""
    child = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()[0]
    text = Path(f"/proc/{child}/environ").read_text()
    return next(entry for entry in text.split("\0") if entry.startswith("RESYNC_LAB="))


def resync(state_dir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "RESYNC_STATE_DIR": str(state_dir)}
    return subprocess.run([*RESYNC, *words], env=env, capture_output=True, text=True, timeout=90, check=False)


def total(lab: LabHandle, expression: str) -> float:
    return sum(sample.number for sample in lab.query(expression))


@the_one_lab
def test_every_pod_is_ready_and_the_index_agrees_with_the_truth(lab: LabHandle) -> None:
    with lab.cluster() as cluster:
        assert [pod.name for pod in list_pods(cluster, lab.namespace) if pod.ready] == [
            "engine-0", "engine-1", "engine-2", "gateway-0", "load-0", "observer-0", "prometheus-0",
        ]  # fmt: skip
    wait_until(
        lambda: total(lab, "resync_audited_blocks_total") > 1000, what="blocks to be audited", timeout_s=30
    )
    divergence = lab.query('resync_divergence_blocks{pod_key!="resync-control"}')
    assert {sample.metric["pod_key"] for sample in divergence} >= {f"default/engine-{n}" for n in range(3)}
    assert [sample for sample in divergence if sample.number] == []


@the_one_lab
def test_load_flows_through_the_gateway_and_hits_what_engines_hold(lab: LabHandle) -> None:
    wait_until(lambda: total(lab, "resync_load_routed_hits_total") > 20, what="routed hits", timeout_s=30)
    answered = {s.metric["status"]: s.number for s in lab.query("resync_load_completed_total")}
    assert answered.get("200", 0) > 0


@the_one_lab
def test_nothing_listens_beyond_loopback(lab: LabHandle) -> None:
    listening = {
        line.split()[1]
        for pid in marked(mark_of(lab.state.pid))
        for table in ("tcp", "tcp6")
        for line in sockets_of(pid, table)
    }
    assert len(listening) > 10
    assert [address for address in listening if not is_loopback(address)] == []


def sockets_of(pid: int, table: str) -> list[str]:
    """The lines of /proc/net/tcp that are this process's listening sockets."""
    inodes = {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()}
    lines = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    return [x for x in lines if x.split()[3] == LISTENING and f"socket:[{x.split()[9]}]" in inodes]


def is_loopback(address: str) -> bool:
    """`7F` is the last byte as the kernel prints an IPv4 address; ::1 has a one at its end."""
    host = address.partition(":")[0]
    return host.endswith("7F") if len(host) == 8 else host == "00000000000000000000000001000000"


@the_one_lab
def test_a_pod_can_be_exchanged_and_given_back(lab: LabHandle) -> None:
    def args() -> list[str]:
        with lab.cluster() as cluster:
            pod = cluster.get("/api/v1/namespaces/default/pods/gateway-0", dict[str, object])
        return list(pod["spec"]["containers"][0]["args"])  # type: ignore[index]

    before = args()
    with lab.replaced("gateway-0", ["--heartbeat-interval-s", "2"]):
        assert args() == [*before, "--heartbeat-interval-s", "2"]
    assert args() == before


@the_one_lab
def test_a_second_lab_beside_the_first_has_addresses_of_its_own(lab: LabHandle, fresh_lab: FreshLab) -> None:
    other = fresh_lab("--engines", "1", "--no-load")
    assert other.state.link_cidr != lab.state.link_cidr
    own = {"engine-0", "gateway-0", "observer-0"}

    def up() -> set[str]:
        found = {sample.metric["pod"] for sample in other.query("up == 1")}
        assert found <= own, "pods of the other lab"
        return found

    # A scrape that comes late counts as one that failed, and the next one mends it.
    wait_until(lambda: up() == own, what="its own pods to be scraped", timeout_s=30)


@the_one_lab
def test_a_gateway_with_a_defect_shows_as_divergence_and_goes_with_it(lab: LabHandle) -> None:
    wrong = 'sum(resync_divergence_blocks{pod_key!="resync-control"})'
    with lab.replaced("gateway-0", ["--flaw", "removal-for-all-pods:0"]):
        wait_until(lambda: total(lab, wrong) > 0, what="the defect to show as divergence", timeout_s=30)
    wait_until(lambda: lab.query(f"{wrong} == 0"), what="the index to be right again", timeout_s=15)


@contextmanager
def unowned(directory: Path) -> Iterator[Path]:
    """The state directory of a small lab that nobody owns."""
    up = resync(directory, "up", "--engines", "1", "--no-load", "--json")
    assert up.returncode == 0, up.stderr
    assert json.loads(up.stdout) == json.loads((directory / "lab.json").read_text())
    yield directory
    resync(directory, "down")


@pytest.fixture
def detached(tmp_path: Path) -> Iterator[Path]:
    """The state directory of a small lab that nobody owns."""
    with unowned(tmp_path) as directory:
        yield directory


def test_a_detached_lab_is_found_refused_twice_and_ended(detached: Path) -> None:
    assert json.loads(resync(detached, "status").stdout)["pid"] == state.read(detached).pid
    second = resync(detached, "up")
    assert (second.returncode, second.stderr.count("\n")) == (2, 1)
    assert "a lab already runs here" in second.stderr
    found = state.read(detached)
    mark = mark_of(found.pid)
    assert resync(detached, "down").returncode == 0
    assert marked(mark) == []
    assert not (detached / "lab.json").exists()
    again = resync(detached, "down")
    assert (again.returncode, again.stdout) == (0, "No lab runs here.\n")
    assert resync(detached, "status").returncode == 1


def test_a_killed_lab_leaves_no_process_and_is_recognised_as_gone(detached: Path) -> None:
    found = state.read(detached)
    mark = mark_of(found.pid)
    assert len(marked(mark)) >= 6
    os.kill(found.pid, signal.SIGKILL)
    wait_until(lambda: not marked(mark), what="every process of the lab to end", timeout_s=2)
    assert (detached / "lab.json").exists()
    assert resync(detached, "status").returncode == 1
    up = resync(detached, "up", "--engines", "1", "--no-load", "--json")
    assert up.returncode == 0, up.stderr


def test_a_signal_ends_a_lab_in_order(tmp_path: Path) -> None:
    """A stall can only add to how long that takes: of the two, the quicker end is judged."""
    took_s = [ended_by(tmp_path / number.name, number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert min(took_s) < 3, took_s


def ended_by(directory: Path, number: signal.Signals) -> float:
    """How many seconds a lab took to end by that signal, with all that is its own."""
    with unowned(directory):
        found = state.read(directory)
        mark = mark_of(found.pid)
        started_s = time.monotonic()
        os.kill(found.pid, number)
        wait_until(
            lambda: not found.holder.is_alive(),
            what="the supervisor to end before it would be made to",
            timeout_s=ORDERLY_TIMEOUT_S,
            every_s=0.02,
        )
        took_s = time.monotonic() - started_s
        assert marked(mark) == []
        assert not (directory / "lab.json").exists()
        return took_s


def test_a_lab_ends_with_its_owner(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as owner:
        env = {**os.environ, "RESYNC_STATE_DIR": str(tmp_path)}
        words = ["up", "--owner-pid", str(owner.pid), "--engines", "1", "--no-load", "--json"]
        with subprocess.Popen([*RESYNC, *words], env=env, stdout=subprocess.PIPE) as lab:
            assert lab.stdout is not None
            mark = mark_of(json.loads(lab.stdout.readline())["pid"])
            owner.kill()
            wait_until(lambda: not marked(mark), what="the lab to end with its owner", timeout_s=4)
            assert lab.wait(1) == 0


def test_a_lab_without_its_api_ends_and_says_so(tmp_path: Path) -> None:
    env = {**os.environ, "RESYNC_STATE_DIR": str(tmp_path)}
    words = ["up", "--owner-pid", str(os.getpid()), "--engines", "1", "--no-load", "--json"]
    with subprocess.Popen(
        [*RESYNC, *words], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as lab:
        assert lab.stdout is not None
        mark = mark_of(json.loads(lab.stdout.readline())["pid"])
        (api,) = (
            pid for pid in marked(mark) if b"resync.lab.api" in Path(f"/proc/{pid}/cmdline").read_bytes()
        )
        os.kill(api, signal.SIGKILL)
        _, said = lab.communicate(timeout=10)
        assert lab.returncode == 2
        assert said.startswith("resync lab: the lab's Kubernetes API ended with code -9")
        assert said.count("\n") == 1
        assert marked(mark) == []


def test_a_prometheus_that_ends_is_started_again_in_place_with_what_it_has_stored(
    fresh_lab: FreshLab,
) -> None:
    lab = fresh_lab("--engines", "1", "--no-load")
    (before,) = lab.query('timestamp(up{pod="engine-0"})')
    (pid,) = (
        pid
        for pid in marked(mark_of(lab.state.pid))
        if b"--web.listen-address" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    os.kill(pid, signal.SIGKILL)

    def restarted() -> bool:
        with lab.cluster() as cluster:
            (pod,) = (pod for pod in list_pods(cluster, lab.namespace) if pod.name == "prometheus-0")
        return pod.ready and pod.restart_count == 1

    wait_until(restarted, what="Prometheus to be started again", timeout_s=30)
    (stored,) = lab.query(f'timestamp(up{{pod="engine-0"}} @ {before.number:.3f})')
    assert stored.number == before.number


def test_an_owner_that_does_not_run_is_one_sentence(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    up = resync(tmp_path, "up", "--owner-pid", str(gone.pid))
    assert up.returncode == 2
    assert up.stderr == f"resync lab: the lab's owner, process {gone.pid}, does not run (No such process)\n"


def test_a_part_that_does_not_come_up_is_one_sentence_and_nothing_stays(tmp_path: Path) -> None:
    """The gateway refuses its argument, so it never becomes Ready."""
    up = resync(tmp_path, "up", "--engines", "1", "--no-load", "--gateway-arg=--no-such-option")
    assert (up.returncode, up.stdout, up.stderr.count("\n")) == (2, "", 1)
    assert "gateway-0" in up.stderr
    assert "no-such-option" in up.stderr
    assert state.holder(tmp_path) is None
    assert not (tmp_path / "lab.json").exists()


def test_a_prometheus_that_is_named_wrongly_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESYNC_PROMETHEUS_BIN", "/nowhere/prometheus")
    up = resync(tmp_path, "up")
    assert (up.returncode, up.stderr.count("\n")) == (2, 1)
    assert "RESYNC_PROMETHEUS_BIN=/nowhere/prometheus" in up.stderr


def test_options_of_the_command_line_are_those_of_the_order() -> None:
    words = subprocess.run([*RESYNC, "up", "--help"], capture_output=True, text=True, check=True).stdout
    for name in LabOptions.__struct_fields__:
        assert f"--{name.removesuffix('_args').replace('_', '-')}" in words
