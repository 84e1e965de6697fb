"""The gate over docs/scenarios.md: what it counts, and that it fails when a claim is taken away."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from scenarios import GROUPS, SCENARIOS, judge, main, shares

from resync.kvsync.transitions import AWAITING, TRANSITIONS, Action, State

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]


def test_every_scenario_belongs_to_a_group_and_every_group_has_some() -> None:
    assert {one.group for one in SCENARIOS.values()} == set(GROUPS)


def test_every_row_of_the_subscriber_that_does_something_is_a_scenario() -> None:
    doing = {
        (what, "awaiting" if state in AWAITING else state.value)
        for state, row in TRANSITIONS.items()
        for what, then in row.items()
        if then.action is not Action.IGNORE
    }
    named = {
        tuple(name.partition("/")[2].rsplit("-while-", 1))
        for name in SCENARIOS
        if SCENARIOS[name].source == "transitions"
    }
    assert named == {(what.name.lower().replace("_", "-"), state) for what, state in doing}
    assert {state for _, state in doing} == {"awaiting", State.LIVE, State.CONNECTING}


def test_all_of_them_pass_and_none_of_them_fails_every_group() -> None:
    assert list(judge(SCENARIOS)) == []
    assert len(list(judge([]))) == len(GROUPS)


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_fails_with_the_first_scenario_below_its_share(group: str) -> None:
    names = [name for name in SCENARIOS if SCENARIOS[name].group == group]
    may_lack = len(names) - -(-len(names) * GROUPS[group].percent_min // 100)
    assert not list(judge(set(SCENARIOS) - set(names[:may_lack])))
    (said,) = judge(set(SCENARIOS) - set(names[: may_lack + 1]))
    assert said.startswith(f"{group}: below {GROUPS[group].percent_min} %")
    assert names[0] in said


def test_the_shares_are_printed_and_the_exit_code_says_whether_they_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "passed"
    record.write_text("\n".join(SCENARIOS))
    assert main(record) == 0
    record.write_text("pod-lifecycle/add\n")
    assert main(record) == 1
    out, err = capsys.readouterr()
    assert all(title in out for title, *_ in GROUPS.values())
    assert '"pod-lifecycle/ip-change"' in err
    assert {group for group, *_ in shares(())} == set(GROUPS)


TESTS = """
import pytest

@pytest.mark.scenario("pod-lifecycle/add", "errors/reconnection")
@pytest.mark.parametrize("number", [1, 2])
def test_passes(number: int) -> None:
    assert number

@pytest.mark.scenario("pod-lifecycle/delete")
def test_fails() -> None:
    assert False

@pytest.mark.scenario("pod-lifecycle/unknown")
def test_skips() -> None:
    pytest.skip("not here")
"""


def collected(tmp_path: Path, text: str, *options: str) -> "subprocess.CompletedProcess[str]":
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["scenario_claims"]\n')
    (tmp_path / "test_claims.py").write_text(text)
    (tmp_path / "pytest.ini").write_text(
        f"[pytest]\npythonpath = {ROOT / 'tests' / 'gates'}\nmarkers =\n    e2e: whole runs\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.integration
def test_only_what_passed_is_noted_and_a_second_call_adds_to_it(tmp_path: Path) -> None:
    record = tmp_path / "gates" / "passed"
    for workers in ([], ["-p", "xdist", "-n", "2"]):
        collected(tmp_path, TESTS, "--scenarios", str(record), *workers)
    assert record.read_text().split() == ["errors/reconnection", "pod-lifecycle/add"] * 2


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("pod-lifecycle/no-such", "docs/scenarios.md has no scenario 'pod-lifecycle/no-such'"),
        ("basic/first-response", "basic/first-response is proven by an e2e test only"),
    ],
)
def test_a_wrong_claim_is_an_error(tmp_path: Path, name: str, why: str) -> None:
    done = collected(tmp_path, f'import pytest\n@pytest.mark.scenario("{name}")\ndef test_one(): ...\n')
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert why in done.stderr + done.stdout
