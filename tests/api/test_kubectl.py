"""kubectl against the server: what a person types first has to answer sensibly."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

KUBECTL = shutil.which("kubectl")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(KUBECTL is None, reason="kubectl is not on this machine"),
]

POD = """
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: x}}
spec: {containers: [{name: c, image: i, env: [{name: A, value: "1"}]}]}
"""
FAULT = """
apiVersion: chaos-mesh.org/v1alpha1
kind: NetworkChaos
metadata: {name: d}
spec: {action: delay, mode: all, selector: {labelSelectors: {app: x}}, delay: {latency: 50ms}, duration: 20s}
"""
Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def kubectl(api_server: Path, namespace: str) -> Kubectl:
    """Runs kubectl in the test's namespace; `sent` is its standard input."""

    def call(*words: str, sent: str | None = None, ok: bool = True) -> subprocess.CompletedProcess[str]:
        assert KUBECTL is not None
        command = [
            KUBECTL,
            "--kubeconfig",
            str(api_server),
            "-n",
            namespace,
            "--cache-dir",
            str(api_server.parent / "cache"),
            *words,
        ]
        done = subprocess.run(command, input=sent, capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode == 0) is ok, done.stderr
        return done

    return call


def test_pods_are_applied_changed_shown_and_deleted(kubectl: Kubectl) -> None:
    assert "pod/a created" in kubectl("apply", "-f", "-", sent=POD).stdout
    assert "pod/a unchanged" in kubectl("apply", "-f", "-", sent=POD).stdout
    assert "pod/a configured" in kubectl("apply", "-f", "-", sent=POD.replace("app: x", "app: z")).stdout
    kubectl("annotate", "pod", "a", "b=c")
    shown = kubectl("get", "pods", "-l", "app=z").stdout.splitlines()
    assert shown[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert shown[1].split()[:4] == ["a", "0/1", "Pending", "0"]
    assert "Status:       Pending" in kubectl("describe", "pod", "a").stdout
    assert json.loads(kubectl("get", "pod", "a", "-o", "json").stdout)["metadata"]["annotations"]["b"] == "c"
    assert 'pod "a" deleted' in kubectl("delete", "pod", "a").stdout
    assert 'pods "a" not found' in kubectl("get", "pod", "a", ok=False).stderr


def test_a_fault_manifest_works_as_on_a_cluster(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", sent=FAULT)
    assert "unchanged" in kubectl("apply", "-f", "-", sent=FAULT).stdout
    shown = kubectl("get", "networkchaos").stdout.splitlines()
    assert [line.split() for line in shown] == [["NAME", "ACTION", "DURATION"], ["d", "delay", "20s"]]
    assert (
        "Cannot update chaos spec"
        in kubectl("apply", "-f", "-", sent=FAULT.replace("20s", "9s"), ok=False).stderr
    )
    typo = FAULT.replace("duration", "duratoin").replace("name: d", "name: e")
    assert 'unknown field "spec.duratoin"' in kubectl("apply", "-f", "-", sent=typo, ok=False).stderr
    wrong = FAULT.replace("mode: all", "mode: some").replace("name: d", "name: e")
    assert "spec.mode: Unsupported value" in kubectl("apply", "-f", "-", sent=wrong, ok=False).stderr
    assert "50ms" in kubectl("describe", "networkchaos", "d").stdout
    kubectl("delete", "-f", "-", sent=FAULT)
    assert "No resources found" in kubectl("get", "networkchaos").stderr


def test_server_side_apply_creates_and_merges(kubectl: Kubectl) -> None:
    kubectl("apply", "--server-side", "-f", "-", sent=POD)
    kubectl("apply", "--server-side", "-f", "-", sent=POD.replace("app: x", "tier: z"))
    labels = json.loads(kubectl("get", "pod", "a", "-o", "json").stdout)["metadata"]["labels"]
    assert labels["tier"] == "z"


def test_one_look_at_everything(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", sent=POD)
    shown = kubectl("get", "lease,ns,nodes,crd,events,svc,cm,ep,all").stdout
    assert "namespace/default" in shown
    assert "networkchaos.chaos-mesh.org" in shown
    assert "pod/a" in shown
    assert "networkchaos" in kubectl("api-resources").stdout
    assert "Server Version: v1.34" in kubectl("version").stdout


def test_waiting_and_watching_end(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", sent=POD)
    kubectl("wait", "--for=jsonpath={.status.phase}=Pending", "pod/a", "--timeout=20s")
    patch = '{"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}'
    kubectl("patch", "pod", "a", "--subresource=status", "-p", patch)
    assert "condition met" in kubectl("wait", "--for=condition=Ready", "pod/a", "--timeout=20s").stdout
    # The limit holds for every request that kubectl makes, and ends the last of them: the watch.
    watched = kubectl("get", "pods", "-w", "--request-timeout=4s", ok=True).stdout.splitlines()
    assert watched[0].split()[0] == "NAME"
    assert watched[1].split()[2] == "Running"
