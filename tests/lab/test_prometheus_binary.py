"""Which Prometheus program is taken, and what the user hears when there is none."""

import fcntl
import os
import platform
import shutil
import threading
from pathlib import Path

import pytest

from resync.lab.prometheus import PrometheusNotFoundError, binary, find_binary

pytestmark = pytest.mark.integration


def program(path: Path, says: str) -> Path:
    """An executable that answers --version with `says`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def server(path: Path, version: str) -> Path:
    return program(path, f"prometheus, version {version}+ds (branch: debian/sid)")


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment with an empty PATH and an empty cache."""
    (tmp_path / "path").mkdir()
    return {"PATH": str(tmp_path / "path"), "XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}


def test_the_variable_wins_over_path(tmp_path: Path, bare: dict[str, str]) -> None:
    named = server(tmp_path / "mine" / "prom", "2.53.3")
    server(tmp_path / "path" / "prometheus", "3.5.0")
    assert find_binary(bare | {"RESYNC_PROMETHEUS_BIN": str(named)}) == named


@pytest.mark.parametrize(
    ("says", "complaint"),
    [
        ("prometheus, version 2.31.2 (branch: x)", r"is Prometheus 2\.31\.2; resync needs 2\.42 or newer"),
        ("node_exporter, version 1.5.0", "is not a Prometheus server"),
    ],
)
def test_a_program_named_by_the_user_is_never_replaced_by_another(
    tmp_path: Path, bare: dict[str, str], says: str, complaint: str
) -> None:
    named = program(tmp_path / "mine" / "prom", says)
    server(tmp_path / "path" / "prometheus", "3.5.0")
    with pytest.raises(PrometheusNotFoundError, match=complaint):
        find_binary(bare | {"RESYNC_PROMETHEUS_BIN": str(named)})


def test_a_named_program_that_is_not_there_is_an_error(bare: dict[str, str]) -> None:
    with pytest.raises(
        PrometheusNotFoundError, match=r"RESYNC_PROMETHEUS_BIN=/nowhere/prom: .* cannot be run"
    ):
        find_binary(bare | {"RESYNC_PROMETHEUS_BIN": "/nowhere/prom"})


def test_path_comes_before_the_cache(tmp_path: Path, bare: dict[str, str]) -> None:
    on_path = server(tmp_path / "path" / "prometheus", "2.42.0")
    in_cache(bare, "3.5.0")
    assert find_binary(bare) == on_path


def test_a_program_on_path_that_is_too_old_is_passed_over(tmp_path: Path, bare: dict[str, str]) -> None:
    server(tmp_path / "path" / "prometheus", "2.41.9")
    cached = in_cache(bare, "2.53.3")
    assert find_binary(bare) == cached


def in_cache(environ: dict[str, str], version: str) -> Path:
    entry = binary.cache_dir(environ) / f"{version}-{platform.machine()}"
    return server(entry / "prometheus", version)


def test_no_program_and_no_package_tool_is_one_sentence_that_says_what_to_do(
    bare: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", bare["PATH"])
    with pytest.raises(PrometheusNotFoundError) as caught:
        find_binary(bare)
    message = str(caught.value)
    assert "no apt-get and no dpkg" in message
    assert "Prometheus project's download page" in message
    assert "set RESYNC_PROMETHEUS_BIN" in message
    assert "\n" not in message


def test_a_fetch_that_failed_leaves_nothing_behind(
    bare: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", bare["PATH"])
    with pytest.raises(PrometheusNotFoundError):
        find_binary(bare)
    assert [entry.name for entry in binary.cache_dir(bare).iterdir()] == [".lock"]


def test_whoever_waits_for_another_fetch_uses_its_result(bare: dict[str, str]) -> None:
    """While someone else holds the lock nothing is fetched; what appears meanwhile is taken."""
    cache = binary.cache_dir(bare)
    cache.mkdir(parents=True)
    found: list[Path] = []
    with (cache / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = threading.Thread(target=lambda: found.append(find_binary(bare)))
        waiting.start()
        entry = in_cache(bare, "2.53.3")
        assert not found
    waiting.join(10)
    assert found == [entry]


@pytest.mark.slow
def test_the_distribution_s_package_is_unpacked_without_installing_it(bare: dict[str, str]) -> None:
    if shutil.which("apt-get") is None:
        pytest.skip("no apt-get here: the package way exists on Debian and Ubuntu only")
    if "RESYNC_PROMETHEUS_BIN" in os.environ:
        pytest.skip("RESYNC_PROMETHEUS_BIN is set: this machine is not meant to fetch one")
    found = find_binary(bare)
    assert found.parent.parent == binary.cache_dir(bare)
    assert binary.version_of(found)[:2] >= binary.OLDEST
    assert found.parent.name.startswith(".".join(map(str, binary.version_of(found))))
