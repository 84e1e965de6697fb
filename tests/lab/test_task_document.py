"""The document's Deployment on the lab: as written, refused with a sentence.

What is wrong with it as written: four flags that no vLLM has (vllm-project/aibrix issue 1721). Corrected, at
work and scaled it is tests/e2e/test_document_steps.py.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes
import pytest
from kubernetes import config

from resync.kits.waits import wait_until
from resync.lab.handle import LabHandle, running_lab

client: Any = kubernetes.client

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted((ROOT.parent / "shared" / "seed").glob("*.txt"))
NAME = "test-model"
LABELS = {"model.aibrix.ai/name": NAME, "model.aibrix.ai/kv-events-enabled": "true"}
COMMAND = ["python3", "-m", "vllm.entrypoints.openai.api_server"]
SERVING = {
    "--host": "0.0.0.0",
    "--port": "8000",
    "--model": "facebook/opt-125m",
    "--served-model-name": NAME,
}
NO_SUCH_FLAGS = {
    "--enable-kv-cache-events": "",
    "--kv-events-publisher": "zmq",
    "--kv-events-endpoint": "tcp://*:5557",
    "--kv-events-replay-endpoint": "tcp://*:5558",
}
PORTS = {"api": 8000, "kv-events": 5557, "kv-replay": 5558}


def words(flags: dict[str, str]) -> list[str]:
    return [word for pair in flags.items() for word in pair if word]


def as_written() -> dict[str, Any]:
    gpu = {"nvidia.com/gpu": "1"}
    container = {
        "name": "vllm",
        "image": "vllm/vllm-openai:v0.7.1",
        "command": [*COMMAND, *words(SERVING), *words(NO_SUCH_FLAGS)],
        "ports": [{"name": name, "containerPort": number} for name, number in PORTS.items()],
        "resources": {"limits": gpu, "requests": gpu},
    }
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [container]}}
    selector = {"matchLabels": {"model.aibrix.ai/name": NAME}}
    spec = {"replicas": 1, "selector": selector, "template": template}
    return {"metadata": {"name": NAME, "labels": LABELS}, "spec": spec}


@pytest.fixture(scope="module")
def small_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHandle]:
    with running_lab(tmp_path_factory.mktemp("document"), "--engines", "1", "--no-load") as lab:
        yield lab


@pytest.fixture
def connection(small_lab: LabHandle) -> Iterator[Any]:
    with config.new_client_from_config(config_file=str(small_lab.kubeconfig)) as api:  # type: ignore[no-untyped-call]
        yield api
        client.AppsV1Api(api).delete_namespaced_deployment(NAME, "default")
        core = client.CoreV1Api(api)
        wait_until(lambda: not pods(core), what="the deployment's pods to go", timeout_s=20)


def pods(core: Any) -> list[Any]:
    found: list[Any] = core.list_namespaced_pod(
        "default", label_selector=f"model.aibrix.ai/name={NAME}"
    ).items
    return found


def test_this_is_what_the_document_says() -> None:
    if not DOCUMENTS:
        pytest.skip(f"the task document is not here: {ROOT.parent / 'shared' / 'seed'} is absent or empty")
    text = DOCUMENTS[0].read_text()
    function = text[text.index("func createVLLMDeployment") :]
    function = function[: function.index("\n```")].replace("modelName,", f'"{NAME}",')
    said = [
        word
        for block in re.findall(
            r"(?:Command: \[\]string\{|container\.Command,\n)(.*?)(?:\},|\))", function, re.DOTALL
        )
        for word in re.findall(r'"([^"]*)"', re.sub(r"\s//.*", "", block))
    ]
    container = as_written()["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == said
    assert dict(re.findall(r'Name: "([^"]+)", ContainerPort: (\d+)', function)) == {
        name: str(number) for name, number in PORTS.items()
    }
    assert set(re.findall(r'"(model\.aibrix\.ai/[^"]+)"', function)) == set(LABELS)


@pytest.mark.integration
def test_as_written_it_is_refused_with_a_sentence_in_the_log(connection: Any) -> None:
    core = client.CoreV1Api(connection)
    client.AppsV1Api(connection).create_namespaced_deployment("default", as_written())

    def reason() -> str:
        [status] = [one for pod in pods(core) for one in pod.status.container_statuses or []] or [None]
        return str(status.state.waiting.reason) if status and status.state.waiting else ""

    wait_until(lambda: reason() == "CrashLoopBackOff", what="the pod to be given up for now", timeout_s=20)
    [pod] = pods(core)
    name = pod.metadata.name
    said = wait_until(lambda: core.read_namespaced_pod_log(name, "default"), what="last words", timeout_s=10)
    flag = next(iter(NO_SUCH_FLAGS))
    assert said.startswith(f"resync.engine: vLLM has no flag {flag}, ")
    assert "write --kv-events-config" in said
    assert said == core.read_namespaced_pod_log(name, "default", previous=True)
