"""The task document's end-to-end test, on its own Deployment: a hit on the second request, two pods serve.

The document calls its second request a hit because it was answered. Here the engine says what it found
(`cached_tokens`, its own counters), and prefixes are warmed on an engine directly: the router also believes
its own decisions, so that a second request through it would be routed right with event sync dead.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes
import pytest
import requests
import yaml
from kubernetes import config

from resync.kits.waits import wait_until
from resync.lab.handle import LabHandle, running_lab

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.own_lab, pytest.mark.xdist_group("document")]

client: Any = kubernetes.client

DEPLOYMENT = Path(__file__).parents[2] / "docs" / "examples" / "vllm-deployment.yaml"
NAME = "test-model"
PATIENCE_S = 40.0
BLOCK = 16
SHARED_BLOCKS = 4
MORE_BLOCKS = 2


class Served:
    """The document's Deployment in a lab, as its users and its operator see it."""

    def __init__(self, lab: LabHandle, api: Any) -> None:
        self.lab = lab
        self._apps, self._core = client.AppsV1Api(api), client.CoreV1Api(api)
        self._numbers = itertools.count(1000)

    def create(self) -> None:
        """One replica, ready and followed."""
        self._apps.create_namespaced_deployment("default", yaml.safe_load(DEPLOYMENT.read_text()))
        self.await_replicas(1)

    def scale(self, replicas: int) -> None:
        """That many, ready and followed, and nobody else."""
        made = self._apps.read_namespaced_deployment(NAME, "default")
        made.spec.replicas = replicas
        self._apps.replace_namespaced_deployment(NAME, "default", made)
        self.await_replicas(replicas)

    def await_replicas(self, count: int) -> None:
        """Until all of them are ready and exactly they are followed and known to be right."""

        def settled() -> bool:
            status = self._apps.read_namespaced_deployment(NAME, "default").status
            if not status.ready_replicas == status.updated_replicas == status.replicas == count:
                return False
            return self.followed() == set(self.pods())

        wait_until(settled, what=f"{count} pods of {NAME}, ready and followed", timeout_s=PATIENCE_S)
        self._await_serving()

    def _await_serving(self) -> None:
        """Until each has answered through the gateway: being followed is no answered health check yet."""
        serving: set[str | None] = set()

        def all_serve() -> bool:
            answer = self._post(self.lab.gateway_url, self.fresh(1))
            if answer.ok:
                serving.add(answer.headers.get("target-pod"))
            return serving >= set(self.pods())

        wait_until(all_serve, what="each pod to have served a request", timeout_s=PATIENCE_S)

    def pods(self) -> dict[str, str]:
        """The addresses of its pods by name."""
        found = self._core.list_namespaced_pod("default", label_selector=f"model.aibrix.ai/name={NAME}")
        return {pod.metadata.name: pod.status.pod_ip for pod in found.items}

    def index(self) -> dict[str, dict[str, Any]]:
        """What the gateway believes of them, by pod name."""
        pods = requests.get(f"{self.lab.gateway_url}/index", timeout=5).json()["pods"]
        named = {key.partition("/")[2]: one for key, one in pods.items()}
        return {name: one for name, one in named.items() if name.startswith(NAME)}

    def followed(self) -> set[str]:
        return {name for name, one in self.index().items() if one["state"] == "live" and one["exact"]}

    def fresh(self, blocks: int) -> list[int]:
        """A prompt that nobody has had, of whole blocks."""
        return [next(self._numbers)] * (blocks * BLOCK)

    def ask(self, prompt: list[int]) -> dict[str, Any]:
        """Through the gateway: which pod answered, and how many tokens of the prompt it held."""
        return self._completed(self.lab.gateway_url, prompt)

    def warm(self, pod: str, prompt: list[int]) -> None:
        """On that engine, past the gateway; then wait until events have told the gateway of it."""
        before = len(self.index()[pod]["entries"])
        self._completed(f"http://{self.pods()[pod]}:8000", prompt)
        wait_until(
            lambda: len(self.index()[pod]["entries"]) >= before + len(prompt) // BLOCK,
            what="the gateway to hear of it",
            timeout_s=PATIENCE_S,
        )

    def _completed(self, url: str, prompt: list[int]) -> dict[str, Any]:
        answer = self._post(url, prompt)
        answer.raise_for_status()
        details = answer.json()["usage"]["prompt_tokens_details"]
        return {"pod": answer.headers.get("target-pod"), "cached_tokens": details["cached_tokens"]}

    def _post(self, url: str, prompt: list[int]) -> requests.Response:
        body = {"model": NAME, "prompt": prompt, "max_tokens": 1}
        return requests.post(f"{url}/v1/completions", json=body, timeout=20)

    def counted(self, url: str, name: str) -> float:
        """The sum of that family on a metrics page."""
        lines = requests.get(f"{url}/metrics", timeout=5).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))

    def on_engine(self, pod: str, name: str) -> float:
        """Of the engine itself."""
        return self.counted(f"http://{self.pods()[pod]}:8000", name)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running_lab(tmp_path_factory.mktemp("document"), "--engines", "1", "--no-load") as lab:
        kubeconfig = str(lab.kubeconfig)
        with config.new_client_from_config(config_file=kubeconfig) as api:  # type: ignore[no-untyped-call]
            made = Served(lab, api)
            made.create()
            yield made


@pytest.mark.scenario(
    "basic/deployment-ready",
    "basic/first-response",
    "basic/second-request-hits",
    "basic/routing-metric",
    "basic/warmed-behind-the-gateway",
)
def test_the_second_request_with_a_prefix_finds_it(served: Served) -> None:
    served.scale(1)
    [pod] = served.pods()
    decisions = "aibrix_prefix_cache_routing_decisions_total"
    before = served.counted(served.lab.gateway_url, decisions)
    prefix = served.fresh(SHARED_BLOCKS)
    assert served.ask([*prefix, *served.fresh(1)]) == {"pod": pod, "cached_tokens": 0}
    longer = served.ask([*prefix, *served.fresh(MORE_BLOCKS)])
    assert longer == {"pod": pod, "cached_tokens": SHARED_BLOCKS * BLOCK}
    assert served.counted(served.lab.gateway_url, decisions) == before + 2

    unseen = served.fresh(SHARED_BLOCKS)
    served.warm(pod, unseen)
    matched = "aibrix_prefix_cache_routing_selection_total"
    assert served.ask([*unseen, *served.fresh(1)]) == {"pod": pod, "cached_tokens": SHARED_BLOCKS * BLOCK}
    page = requests.get(f"{served.lab.gateway_url}/metrics", timeout=5).text
    assert f'{matched}{{model="{NAME}",selection="prefix_match",using_kv_sync="true"}}' in page


@pytest.mark.scenario("scaling/second-pod-ready", "scaling/new-pod-gets-events", "scaling/distribution")
def test_scaled_to_two_both_pods_are_known_and_serve(served: Served) -> None:
    served.scale(1)
    [first] = served.pods()
    served.scale(2)
    [second] = set(served.pods()) - {first}
    for pod in (first, second):
        unseen = served.fresh(SHARED_BLOCKS)
        served.warm(pod, unseen)
        assert served.ask([*unseen, *served.fresh(1)]) == {"pod": pod, "cached_tokens": SHARED_BLOCKS * BLOCK}

    tokens = "vllm:prompt_tokens_total"
    before = {pod: served.on_engine(pod, tokens) for pod in served.pods()}
    answered = [served.ask(served.fresh(1))["pod"] for _ in range(10)]
    assert set(answered) == {first, second}, "equals take turns"
    by_engine = {pod: served.on_engine(pod, tokens) - before[pod] for pod in before}
    assert by_engine == {pod: answered.count(pod) * BLOCK for pod in before}


@pytest.mark.scenario("scaling/pod-leaves")
def test_scaled_down_the_pod_that_left_takes_its_entries_along_and_the_other_serves(served: Served) -> None:
    served.scale(2)
    for pod in served.pods():
        served.warm(pod, served.fresh(1))
    served.scale(1)
    [left] = served.pods()
    assert set(served.index()) == {left}
    assert {served.ask(served.fresh(1))["pod"] for _ in range(4)} == {left}
