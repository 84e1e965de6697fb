"""The experiment and its manifest: valid, found from anywhere, and usable by hand."""

import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from resync.cluster.connecting import Cluster
from resync.cluster.kinds import KINDS
from resync.cluster.statuses import FaultWire
from resync.lab.api.process import ApiProcess, start_api
from resync.run.courses import manifest_of
from resync.run.errors import RefusedError
from resync.run.files import manifest_path

pytestmark = [pytest.mark.integration]

ROOT = Path(__file__).parents[2]
EXPERIMENT = ROOT / "experiments" / "network-delay.json"
MANIFEST = ROOT / "chaos-mesh" / "network-delay.yaml"
KUBECTL = shutil.which("kubectl")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    with start_api(tmp_path_factory.mktemp("api")) as process:
        yield process


def named() -> str:
    return manifest_of(json.loads(EXPERIMENT.read_text()))


def test_the_experiment_is_valid_from_a_directory_that_has_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("chaos")), "--no-version-check", "validate", str(EXPERIMENT)],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if not k.startswith("RESYNC_")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "looks valid" in said
    assert not any(word in said for word in ("WARNING", "ERROR", "CRITICAL"))


def test_the_manifest_is_named_without_a_path_and_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "/" not in named()
    assert manifest_path(named()) == MANIFEST


def test_a_manifest_that_is_nowhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RefusedError, match="there is no manifest 'no-such"):
        manifest_path("no-such.yaml")


def test_it_is_found_in_an_installation_without_the_checkout(tmp_path: Path) -> None:
    """The wheel's own layout, as pyproject.toml says it is made."""
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for package in wheel["packages"]:
        # What other tests compile meanwhile comes and goes.
        shutil.copytree(
            ROOT / package, site / Path(package).name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for source, inside in wheel["force-include"].items():
        shutil.copytree(ROOT / source, site / inside)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from resync.run.files import manifest_path; print(manifest_path(sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(site), named()],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert Path(done.stdout.strip()) == site / "resync" / "data" / "chaos-mesh" / "network-delay.yaml"


def test_its_own_numbers_are_those_of_a_run_on_the_lab() -> None:
    document = yaml.safe_load(MANIFEST.read_text())
    defaults = {
        k: e["default"]
        for k, e in json.loads(EXPERIMENT.read_text())["configuration"].items()
        if "default" in e
    }
    spec = document["spec"]
    assert (spec["delay"]["latency"], spec["delay"]["jitter"]) == (defaults["latency"], defaults["jitter"])
    assert (spec["direction"], spec["duration"]) == (defaults["direction"], defaults["fault_duration"])
    for side, key in (
        (spec["selector"], "gateway_selector"),
        (spec["target"]["selector"], "engine_selector"),
    ):
        assert ",".join(f"{k}={v}" for k, v in side["labelSelectors"].items()) == defaults[key]


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not on this machine")
def test_kubectl_applies_it_as_it_is(api: ApiProcess, tmp_path: Path) -> None:
    def kubectl(*words: str) -> str:
        command = [KUBECTL or "", "--kubeconfig", str(api.kubeconfig), "--cache-dir", str(tmp_path / "cache")]
        done = subprocess.run(
            [*command, *words], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "network-delay created" in kubectl("apply", "-f", str(MANIFEST))
    with Cluster.connect(api.kubeconfig) as cluster:
        made = cluster.get(KINDS["NetworkChaos"].path("default", "network-delay"), FaultWire)
    assert made.duration_s == 20.0
    assert abs(made.created_s - time.time()) < 60
    assert "network-delay" in kubectl("get", "networkchaos")
    assert "deleted" in kubectl("delete", "-f", str(MANIFEST))
