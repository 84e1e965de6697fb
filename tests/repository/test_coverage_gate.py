"""The gate over coverage: no module of the reference is forgotten, and it fails below a share."""

import json
from pathlib import Path
from typing import Any

import pytest
from components import COMPONENTS, OF_NO_COMPONENT, SOURCE, main

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]


def modules() -> list[str]:
    found = (path for room in ("kvsync", "transport") for path in (ROOT / SOURCE / room).glob("*.py"))
    return [str(path.relative_to(ROOT / SOURCE)) for path in found if path.name != "__init__.py"]


def test_every_module_of_the_reference_belongs_to_exactly_one_component_or_is_named_as_of_none() -> None:
    for module in modules():
        own = [title for title, _, files in COMPONENTS if module.startswith(files)]
        assert len(own) + (module in OF_NO_COMPONENT) == 1, f"name {module} in tests/gates/components.py"


def test_every_file_of_a_component_exists() -> None:
    for name in [*OF_NO_COMPONENT, *(name for _, _, files in COMPONENTS for name in files)]:
        assert (ROOT / SOURCE / name).exists()


def report(path: Path, covered: dict[str, int]) -> Path:
    """As coverage.py writes it: 80 statements and 20 branches in each module, of which some are covered."""

    def summary(name: str) -> dict[str, Any]:
        lines = min(80, covered.get(name, 100))
        branches = covered.get(name, 100) - lines
        counts = {"covered_lines": lines, "covered_branches": branches}
        return {"summary": {**counts, "num_statements": 80, "num_branches": 20}}

    files = {f"{SOURCE}/{name}": summary(name) for name in [*modules(), "gateway/routing.py", "cli.py"]}
    path.write_text(json.dumps({"files": files}))
    return path


@pytest.mark.parametrize(
    ("module", "covered", "below"),
    [
        ("kvsync/handlers.py", 95, None),
        ("kvsync/handlers.py", 94, "event handlers"),
        ("kvsync/index.py", 60, None),
        ("kvsync/index.py", 59, "sync hash indexer"),
    ],
)
def test_it_fails_below_the_share_of_a_component(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], module: str, covered: int, below: str | None
) -> None:
    code = main(report(tmp_path / "found.json", {module: covered}))
    out, err = capsys.readouterr()
    assert code == (below is not None)
    assert all(title in out for title, *_ in COMPONENTS)
    assert below is None or f"below: {below};" in err


def test_the_whole_is_judged_where_the_whole_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing_else = dict.fromkeys(["cli.py", *OF_NO_COMPONENT], 0)
    assert main(report(tmp_path / "found.json", nothing_else)) == 0
    assert main(report(tmp_path / "found.json", nothing_else), whole=True) == 0
    just_enough = dict.fromkeys(modules(), 95) | nothing_else
    assert main(report(tmp_path / "found.json", just_enough)) == 0
    capsys.readouterr()
    assert main(report(tmp_path / "found.json", just_enough), whole=True) == 1
    assert "below: overall;" in capsys.readouterr().err
