"""The GitHub workflow calls only make targets that exist, in the order unit, integration, e2e."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "kv-sync-tests.yml"


@pytest.fixture(scope="module")
def workflow() -> dict[Any, Any]:
    parsed: dict[Any, Any] = yaml.safe_load(WORKFLOW.read_text())
    return parsed


def run_steps(workflow: dict[Any, Any]) -> list[str]:
    return [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_every_step_calls_make_and_every_target_exists(workflow: dict[Any, Any]) -> None:
    steps = run_steps(workflow)
    assert steps
    for step in steps:
        words = step.split()
        assert words[0] == "make", f"call a make target, so that CI and a developer run the same: {step}"
        assert words[1] in make_targets(), f"the Makefile has no target {words[1]}"


def test_e2e_needs_unit_and_integration(workflow: dict[Any, Any]) -> None:
    assert set(workflow["jobs"]) == {"unit-tests", "integration-tests", "coverage", "e2e-tests"}
    assert workflow["jobs"]["e2e-tests"]["needs"] == ["unit-tests", "integration-tests"]


def test_path_filters_name_places_that_exist(workflow: dict[Any, Any]) -> None:
    # YAML 1.1 reads the key `on` as the boolean true.
    for pattern in workflow[True]["pull_request"]["paths"]:
        assert list(ROOT.glob(pattern.removesuffix("/**"))), f"{pattern} matches nothing in the tree"


def test_coverage_is_an_artefact(workflow: dict[Any, Any]) -> None:
    uploads = [
        step["with"]["path"]
        for job in workflow["jobs"].values()
        for step in job["steps"]
        if str(step.get("uses", "")).startswith("actions/upload-artifact")
    ]
    assert uploads.count("coverage.xml") == 3


def test_python_versions_are_those_the_package_declares(workflow: dict[Any, Any]) -> None:
    declared = re.findall(
        r"Programming Language :: Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text()
    )
    assert workflow["jobs"]["unit-tests"]["strategy"]["matrix"]["python"] == declared


def test_ci_calls_exactly_the_readmes_test_command() -> None:
    lines = [
        line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert lines[-1] == "exec make test"
    first_block = (ROOT / "README.md").read_text().split("```")[1]
    commands = [line.split("#")[0].strip() for line in first_block.splitlines()[1:] if line.strip()]
    assert commands == ["make run", "make test"]
