"""Gateway and observer follow the pods of a Kubernetes API: they come, change, and leave without a trace."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from resync.lab.api.process import ApiProcess

if TYPE_CHECKING:
    from tests.gateway.conftest import Pods
else:
    Pods = Any

pytestmark = pytest.mark.integration

ENGINE_LABELS = {
    "model.aibrix.ai/name": "llama2-7b",
    "model.aibrix.ai/port": "8000",
    "model.aibrix.ai/kv-events-enabled": "true",
}


@pytest.fixture
def whole(fleet: Any, api: ApiProcess, pods: Pods) -> tuple[Any, Any]:
    """A gateway and an observer that found engines 0 and 1; engine 2 has not turned KV events on."""
    gateway = fleet.start("gateway-0", 8080, "resync.gateway", "--kubeconfig", str(api.kubeconfig))
    # Two watches hear of a change each at its own time, on a busy machine seconds apart.
    patient = ("--kubeconfig", str(api.kubeconfig), "--absence-s", "15")
    observer = fleet.start("observer-0", 9100, "resync.observer", *patient)
    for engine in fleet.engines[:2]:
        pods.create(engine, ENGINE_LABELS)
    pods.create(fleet.engines[2], {"model.aibrix.ai/name": "llama2-7b"})
    pods.create(gateway, {"app": "gateway-plugins"})
    gateway.wait_until_whole(engines=2)
    observer.wait_for("cuts", lambda page: page.total("resync_cuts_total") >= 2)
    return gateway, observer


@pytest.mark.scenario("pod-lifecycle/add", "pod-lifecycle/no-kv-events-label")
def test_only_engines_that_publish_are_followed(fleet: Any, whole: tuple[Any, Any]) -> None:
    gateway, observer = whole
    page = observer.wait_for("an audit", lambda page: page.value("resync_gateways_audited") == 1)
    assert page.value("resync_gateways_selected") == 1
    for found in (gateway.page(), page):
        assert fleet.engines[1].pod_key in found.text
        assert fleet.engines[2].pod_key not in found.text


@pytest.mark.scenario("pod-lifecycle/delete")
def test_a_pod_that_leaves_takes_its_entries_and_series_with_it(
    fleet: Any, whole: tuple[Any, Any], pods: Pods, complete: Any, prompt_of: Any
) -> None:
    gateway, observer = whole
    gone = fleet.engines[0]
    complete(gone, prompt_of(4, seed=1))
    labels = {"gateway": gateway.pod_key, "pod_key": gone.pod_key}
    observer.wait_for("its blocks", lambda page: page.value("resync_index_blocks", **labels) == 4)
    pods.delete(gone)
    gateway.wait_for("no series of it", lambda page: gone.pod_key not in page.text)
    after = observer.wait_for("no series of it", lambda page: gone.pod_key not in page.text)
    assert gone.pod_key.encode() not in gateway.get("/index")
    assert after.divergence() == {}
    assert after.value("resync_divergent_cuts_total", gateway=gateway.pod_key) == 0
    assert complete(gateway, prompt_of(4, seed=1))[1]["target-pod"] == "engine-1"


def test_a_pod_that_is_not_ready_gets_no_requests_and_stays_subscribed(
    fleet: Any, whole: tuple[Any, Any], pods: Pods, complete: Any, prompt_of: Any
) -> None:
    gateway, observer = whole
    complete(fleet.engines[0], prompt_of(4, seed=1))
    labels = {"gateway": gateway.pod_key, "pod_key": fleet.engines[0].pod_key}
    observer.wait_for("its blocks", lambda page: page.value("resync_index_blocks", **labels) == 4)
    assert complete(gateway, prompt_of(4, seed=1))[1]["target-pod"] == "engine-0"
    pods.report(fleet.engines[0], ready=False)
    fleet.wait_for_answer(gateway, prompt_of(4, seed=1), pod="engine-1")
    assert gateway.page().total("resync_gateway_source_exact") == 2


def test_a_gateway_that_leaves_is_neither_selected_nor_audited(whole: tuple[Any, Any], pods: Pods) -> None:
    gateway, observer = whole
    pods.delete(gateway)
    page = observer.wait_for("nobody selected", lambda page: page.value("resync_gateways_selected") == 0)
    assert page.value("resync_gateways_audited") == 0
    assert gateway.pod_key not in page.text


def test_a_gateway_that_cannot_be_asked_is_selected_and_not_audited(
    fleet: Any, whole: tuple[Any, Any], api: ApiProcess, pods: Pods
) -> None:
    _gateway, observer = whole
    blind = fleet.start(
        "gateway-1", 8080, "resync.gateway", "--kubeconfig", str(api.kubeconfig), "--no-index-view"
    )
    pods.create(blind, {"app": "gateway-plugins"})
    audited = set()

    def one_of_two(page: Any) -> bool:
        audited.add(page.value("resync_gateways_audited"))
        refusals = page.value("resync_observer_failures_total", reason="gateway_no_index_view")
        both = page.value("resync_gateways_selected") == 2
        return both and refusals > 1 and bool(page.value("resync_gateways_audited") == 1)

    observer.wait_for("one that is audited, of two that are selected", one_of_two)
    assert 2 not in audited


def test_no_kubeconfig_is_one_sentence(fleet: Any, tmp_path: Path) -> None:
    for module in ("resync.gateway", "resync.observer"):
        with pytest.raises(AssertionError, match="ended with 2"):
            fleet.start("lost-0", 8080, module, "--kubeconfig", str(tmp_path / "absent"))
    assert "Traceback" not in (tmp_path / "lost-0.log").read_text()
