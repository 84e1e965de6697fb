"""The pods of the lab are those of docs/interfaces.md, section 1."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import pytest

from resync.lab.addresses import Block
from resync.lab.manifests import ENGINES_MAX, ROLES, LabOptions, PodPlan, objects_of, pods_of, targets_of

BLOCK = Block(42)
USUAL = pods_of(LabOptions(), BLOCK)


def container(pod: PodPlan, env: Mapping[str, str] = MappingProxyType({})) -> Mapping[str, object]:
    spec = cast("Mapping[str, list[Mapping[str, object]]]", pod.manifest(env)["spec"])
    return spec["containers"][0]


def test_the_usual_lab() -> None:
    assert [pod.name for pod in USUAL] == [
        "engine-0",
        "engine-1",
        "engine-2",
        "gateway-0",
        "observer-0",
        "load-0",
    ]


def test_the_contract_page_names_every_port_module_and_label() -> None:
    page = (Path(__file__).parents[2] / "docs" / "interfaces.md").read_text()
    rows = {
        match[1]: match[0]
        for match in re.finditer(r"^\| `(engine|gateway|observer|load)-0.*$", page, re.MULTILINE)
    }
    for role in ROLES:
        row = rows[role.name]
        assert re.search(rf"`python -m {re.escape(role.module)}[ `]", row)
        assert {int(number) for number in re.findall(r"\b(\d{4})\b(?= )", row)} >= {n for _, n in role.ports}
        for label, value in role.labels.items():
            assert f"`{label}={value}`" in row or f'`{label}="{value}"`' in row


def test_addresses_are_distinct_in_the_largest_lab() -> None:
    largest = pods_of(LabOptions(engines=ENGINES_MAX), BLOCK)
    assert len({pod.ip for pod in largest}) == len(largest)
    assert all(pod.ip.startswith("127.42.0.") and int(pod.ip.rpartition(".")[2]) < 255 for pod in largest)


def test_the_manifest_fixes_the_address_prometheus_was_told() -> None:
    for pod, target in zip(USUAL, targets_of(USUAL), strict=True):
        metadata = cast("Mapping[str, Mapping[str, str]]", pod.manifest({})["metadata"])
        assert target.address == f"{metadata['annotations']['resync.dev/address']}:{pod.role.http_port}"
        assert (target.job, target.pod) == (pod.role.name, pod.name)


def test_engines_and_gateway_are_sets_whose_pods_are_all_like_the_first() -> None:
    made = list(objects_of(USUAL, {}))
    assert [(one["kind"], cast("Any", one)["metadata"]["name"]) for one in made] == [
        ("StatefulSet", "engine"),
        ("StatefulSet", "gateway"),
        ("Pod", "observer-0"),
        ("Pod", "load-0"),
    ]
    spec = cast("Any", made[0])["spec"]
    assert spec["replicas"] == 3
    assert spec["template"]["metadata"]["annotations"] == {"resync.dev/address": USUAL[0].ip}
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    assert all(container(pod)["args"] == container(USUAL[0])["args"] for pod in USUAL[:3])


@pytest.mark.parametrize("role", ["engine", "gateway", "load"])
def test_appended_arguments_reach_their_role_and_no_other(role: str) -> None:
    pods = pods_of(LabOptions(**{f"{role}_args": ("--a", "b")}), BLOCK)  # type: ignore[arg-type]
    assert {pod.role.name for pod in pods if "--a" in cast("list[str]", container(pod)["args"])} == {role}


def test_without_load_there_is_no_load_pod() -> None:
    assert {pod.role.name for pod in pods_of(LabOptions(load=False), BLOCK)} == {
        "engine",
        "gateway",
        "observer",
    }


def test_the_environment_goes_into_the_container() -> None:
    assert container(USUAL[0], {"KUBECONFIG": "/k"})["env"] == [{"name": "KUBECONFIG", "value": "/k"}]
