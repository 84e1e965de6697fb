"""Every experiment is whole: guarded, configurable, documented, with a manifest that nobody else uses."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from resync.run import settings
from resync.run.settings import Target

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "experiments").glob("*.json"))
OF_A_DELAY = {"latency", "jitter", "direction"}


def read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def manifests_of(file: Path) -> list[str]:
    given = (activity["provider"].get("arguments", {}) for activity in read(file)["method"])
    return [arguments["manifest"] for arguments in given if "manifest" in arguments]


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def file(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def test_it_is_guarded_and_always_rolled_back(file: Path) -> None:
    experiment = read(file)
    assert [c["provider"]["module"] for c in experiment["controls"]] == ["resync.run.control"]
    assert experiment["runtime"] == {
        "hypothesis": {"strategy": "default"},
        "rollbacks": {"strategy": "always"},
    }
    assert experiment["rollbacks"]
    for activity in [*experiment["method"], *experiment["rollbacks"]]:
        assert activity["provider"]["arguments"]["run_id"] == "${run_id}"


def test_it_declares_every_setting_that_is_about_it(file: Path) -> None:
    """A setting that the file does not declare could not be given by --var."""
    said, declared = read(file)["configuration"], settings.declared()
    assert declared.keys() - said.keys() <= OF_A_DELAY
    assert said.keys() <= declared.keys()
    for key, entry in said.items():
        own = key == "fault_duration"
        assert entry == declared[key] or own, key
    assert said.keys() >= OF_A_DELAY or "delay" not in file.stem


@pytest.mark.parametrize("target", Target)
def test_its_own_durations_are_used_and_within_the_limit(file: Path, target: Target) -> None:
    configuration: dict[str, Any] = {}
    declaration = read(file)["configuration"]
    settings.fill(configuration, declaration=declaration, known={}, target=target, environment={})
    parsed = settings.parse(configuration)
    assert parsed.fault_duration_s <= parsed.fault_duration_limit_s
    own = declaration["fault_duration"].get("default" if target is Target.LAB else "default_on_cluster")
    assert own is None or settings.parse({"fault_duration": own}).fault_duration_s == parsed.fault_duration_s


def test_chaos_toolkit_finds_it_valid(file: Path, tmp_path: Path) -> None:
    chaos = Path(sys.executable).with_name("chaos")
    done = subprocess.run(
        [str(chaos), "--no-version-check", "validate", str(file)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_reader_finds_it(file: Path) -> None:
    assert f"`{file.name}`" in (ROOT / "README.md").read_text()
    assert f"## {file.name}" in (ROOT / "docs" / "experiments.md").read_text()


def test_every_manifest_is_of_one_experiment() -> None:
    used = [manifest for file in FILES for manifest in manifests_of(file)]
    assert sorted(used) == sorted(path.name for path in (ROOT / "chaos-mesh").glob("*.yaml"))
