"""A real API server as a process, the official client on it, and a fresh namespace per test."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from kubernetes import client, config

from resync.kits.clocks import ManualClock
from resync.lab.api.definitions import own_definitions, prepare
from resync.lab.api.process import ApiProcess, start_api
from resync.lab.api.resources import Catalogue
from resync.lab.api.store import Store
from resync.lab.api.verbs import Verbs


@pytest.fixture(scope="session")
def api_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    with start_api(tmp_path_factory.mktemp("api")) as process:
        yield process


@pytest.fixture
def api_server(api_process: ApiProcess) -> Path:
    """The kubeconfig of a running API server."""
    return api_process.kubeconfig


@pytest.fixture
def api_client(api_server: Path) -> Iterator[client.ApiClient]:
    connection = config.new_client_from_config(config_file=str(api_server))  # type: ignore[no-untyped-call]
    with connection:
        yield connection


@pytest.fixture
def core(api_client: client.ApiClient) -> client.CoreV1Api:
    return client.CoreV1Api(api_client)


@pytest.fixture
def namespace(core: client.CoreV1Api) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name)))
    yield name
    core.delete_namespace(name)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def verbs(clock: ManualClock) -> Verbs:
    """The API without HTTP: own kinds, namespace default, virtual time."""
    made = Verbs(Store(), Catalogue(), clock, Random(7))
    prepare(made, own_definitions())
    return made
