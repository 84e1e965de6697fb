"""One whole run on a current Python, where pip brings newer versions of Chaos Toolkit than on 3.11."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.nightly]

ROOT = Path(__file__).parents[2]
CURRENT = ("python3.14", "python3.13", "python3.12")
INSTALL_TIMEOUT_S = 170
RUN_TIMEOUT_S = 120


def candidates() -> Iterator[str]:
    for name in CURRENT:
        found = shutil.which(name)
        if found:
            yield found
        versions = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
        yield from (str(path) for path in sorted(versions.glob(f"{name.removeprefix('python')}*/bin/{name}")))


def usable(python: str) -> bool:
    """Whether it starts (a version manager's shim may refuse) and can make virtual environments."""
    done = subprocess.run(
        [python, "-c", "import venv, ensurepip"], capture_output=True, timeout=30, check=False
    )
    return done.returncode == 0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if sys.version_info >= (3, 12):
        pytest.skip("every other test already runs on a current Python")
    python = next(filter(usable, candidates()), None)
    if python is None:
        pytest.skip("no Python >= 3.12 on this machine")
    made = tmp_path_factory.mktemp("current")
    subprocess.run([python, "-m", "venv", str(made)], check=True, capture_output=True, timeout=60)
    install = [
        str(made / "bin" / "pip"),
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--editable",
        str(ROOT),
    ]
    subprocess.run(install, check=True, capture_output=True, timeout=INSTALL_TIMEOUT_S)
    return made


@pytest.mark.timeout(INSTALL_TIMEOUT_S + RUN_TIMEOUT_S)
def test_a_healthy_run_passes_on_current_versions(home: Path, tmp_path: Path) -> None:
    ours = {"RESYNC_STATE_DIR": str(tmp_path / "state"), "RESYNC_FAULT_DURATION": "6s"}
    command = [str(home / "bin" / "chaos"), "run", str(ROOT / "experiments" / "network-delay.json")]
    done = subprocess.run(
        command,
        env={**os.environ, **ours},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    verdict = json.loads(done.stdout.splitlines()[-1])["resync"]
    assert (done.returncode, verdict["verdict"]) == (0, "pass"), verdict["reason"]
    started = json.loads(Path(verdict["evidence"]).read_text().splitlines()[0])
    assert started["versions"]["chaostoolkit-lib"] > "1.44"
