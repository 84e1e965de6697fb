"""The wheel, built and installed away from the checkout, holds everything an experiment needs."""

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel only; dependencies are those of the running environment."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=False, symlinks=True)
    site = home / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    dependencies = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "dependencies.pth").write_text(f"{dependencies}\n")
    # A .pth named by a .pth is not read, so the editable install of this checkout cannot answer in its place.
    return home / "bin" / "python"


def ask(python: Path, code: str, cwd: Path) -> str:
    done = subprocess.run(
        [str(python), "-I", "-c", code], capture_output=True, text=True, cwd=cwd, timeout=60, check=True
    )
    return done.stdout.strip()


def test_the_three_packages_come_from_the_wheel(python: Path, tmp_path: Path) -> None:
    code = "import resync, probes, actions; print(resync.__file__, probes.__file__, actions.__file__)"
    for origin in ask(python, code, tmp_path).split():
        assert str(ROOT) not in origin


def test_packages_belong_to_us_alone(python: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.metadata as m, json; d = m.packages_distributions();"
        "print(json.dumps({n: d.get(n) for n in ('resync', 'probes', 'actions')}))"
    )
    owners = json.loads(ask(python, code, tmp_path))
    assert {name: set(found) for name, found in owners.items()} == {
        n: {"resync"} for n in ("resync", "probes", "actions")
    }


def test_types_and_data_travel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in ("resync", "probes", "actions"):
        assert f"{package}/py.typed" in names
    assert "resync/data/experiments/network-delay.json" in names
    assert "resync/data/chaos-mesh/network-delay.yaml" in names
    assert any(name.startswith("resync/lab/crds/") and name.endswith(".yaml") for name in names)
    assert not any(name.startswith(("tests/", "docs/", "benchmarks/")) for name in names)


def test_the_experiment_validates_from_any_directory(python: Path, tmp_path: Path) -> None:
    code = (
        "import json, resync, pathlib; from chaoslib.experiment import ensure_experiment_is_valid as check;"
        "data = pathlib.Path(resync.__file__).parent / 'data' / 'experiments' / 'network-delay.json';"
        "check(json.loads(data.read_text())); print('valid')"
    )
    assert ask(python, code, tmp_path).endswith("valid")
