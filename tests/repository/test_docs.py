"""Pages that are generated are what would be generated; pages that are written name what exists."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from resync.kvsync.transitions import AWAITING, TRANSITIONS
from resync.run.scrapes import __name__ as scrapes_module

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_tables", ROOT / "docs" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_experiments_page_is_what_the_code_says(tables: ModuleType) -> None:
    assert (ROOT / "docs" / "experiments.md").read_text() == tables.page(), "run `make docs`"


def test_the_subscriber_page_is_what_its_table_says(tables: ModuleType) -> None:
    assert (ROOT / "docs" / "subscriber.md").read_text() == tables.subscriber_page(), "run `make docs`"


def test_the_scenarios_page_is_what_the_gate_counts(tables: ModuleType) -> None:
    assert (ROOT / "docs" / "scenarios.md").read_text() == tables.scenarios_page(), "run `make docs`"


def test_every_change_of_state_is_drawn(tables: ModuleType) -> None:
    drawn = "\n".join(tables.diagram())
    for state, row in TRANSITIONS.items():
        box = "awaiting" if state in AWAITING else state
        for what, then in row.items():
            edge = f"{box} --> {then.state}: {what.replace(':', ' -')}"
            assert then.state is state or edge in drawn


def test_every_documented_access_variable_is_one_the_code_reads(tables: ModuleType) -> None:
    source = (ROOT / "src" / Path(*scrapes_module.split("."))).with_suffix(".py").read_text()
    for names, _ in tables.PROMETHEUS_ACCESS:
        for name in names.split(", "):
            assert name in source or name.removeprefix("RESYNC_PROMETHEUS_") in source


def test_every_make_target_named_in_a_page_exists() -> None:
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for named in re.findall(r"`make ([a-z0-9-]+)", page.read_text()):
            assert named in targets, f"{page.name} names make {named}"


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_metric_the_code_exports_is_on_the_interfaces_page() -> None:
    page = (ROOT / "docs" / "interfaces.md").read_text()
    exported = {
        name
        for path in (ROOT / "src" / "resync").rglob("metrics.py")
        for name in re.findall(r'"(resync_[a-z_]+)"', path.read_text())
    }
    assert exported
    missing = sorted(name for name in exported if name.removesuffix("_total") not in page)
    assert not missing, f"describe them in docs/interfaces.md: {missing}"
