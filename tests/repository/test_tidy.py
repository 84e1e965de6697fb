"""Rules of the house that no linter knows; each message says what to write instead."""

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("src", "probes", "actions")
FUNCTION_LINES_MAX = 70


def python_files(*places: str) -> Iterator[Path]:
    for place in places:
        yield from sorted((ROOT / place).rglob("*.py"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) and len(function.body) > 1 else function.body
    return (function.end_lineno or function.lineno) - body[0].lineno + 1


def where(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_function_passes_the_gate() -> None:
    long = [
        f"{where(path)}:{function.lineno} {function.name} has {body_lines(function)} lines"
        for path in python_files(*SOURCES)
        for function in functions(path)
        if body_lines(function) > FUNCTION_LINES_MAX
    ]
    assert not long, "let the parent decide and leaves compute: " + "; ".join(long)


def test_nothing_unfinished_merges() -> None:
    marks = re.compile(r"\b(?:FIX" + r"ME|TO" + r"DO|XX" + r"X)\b")
    found = [
        where(path)
        for path in python_files(*SOURCES, "tests", "benchmarks")
        if marks.search(path.read_text())
    ]
    assert not found, f"finish it, or write it into docs/critiques.md: {found}"


def test_tests_use_no_mocks() -> None:
    found = [
        where(path)
        for path in python_files("tests")
        if re.search(r"^\s*(?:from|import) .*\bmock\b", path.read_text(), re.MULTILINE)
    ]
    assert not found, f"write a fake, or use a real process on loopback: {found}"


def test_sleep_is_never_synchronisation_in_tests() -> None:
    sleeps = re.compile(r"\b(?:time|asyncio)\.sleep\((?!0\))")
    found = [
        f"{where(path)}:{number}"
        for path in python_files("tests")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if sleeps.search(line)
    ]
    assert not found, f"wait for a condition with resync.kits.waits: {found}"


def test_whole_runs_are_where_make_looks_for_them() -> None:
    """It collects `tests/e2e` alone for them: of one elsewhere nobody would see that it is never run."""
    mark = "mark." + "e2e"
    found = [where(path) for path in python_files("tests") if mark in path.read_text()]
    assert found
    assert all(path.startswith("tests/e2e/") for path in found), f"move to tests/e2e: {found}"


def test_records_are_read_under_the_lock_wherever_threads_may_read_them() -> None:
    on_one_thread = tuple(f"src/resync/{room}/" for room in ("engine", "lab", "load"))
    direct = re.compile(r"msgspec\.(?:convert|json\.decode)\(")
    found = {where(path) for path in python_files(*SOURCES) if direct.search(path.read_text())}
    elsewhere = {path for path in found if not path.startswith(on_one_thread)}
    assert elsewhere == {"src/resync/kits/reading.py"}, "read with resync.kits.reading, which says why"


def test_the_word_for_deliberate_defects_stays_where_they_are() -> None:
    """Nothing outside engine/, gateway/ and tests/ may know that such a switch exists."""
    word = re.compile("fl" + "aws?", re.IGNORECASE)
    asks_for_them = ROOT / "benchmarks/detection.py"
    allowed = (ROOT / "src/resync/engine", ROOT / "src/resync/gateway", ROOT / "tests", asks_for_them)
    suffixes = {".py", ".md", ".toml", ".json", ".yaml", ".yml", ""}
    places = (
        "src",
        "probes",
        "actions",
        "experiments",
        "chaos-mesh",
        "docs",
        "benchmarks",
        "deploy",
        ".github",
    )
    files = [path for place in places for path in (ROOT / place).rglob("*")]
    files += [path for path in ROOT.iterdir() if path.is_file()]
    found = [
        where(path)
        for path in files
        if path.is_file()
        and path.suffix in suffixes
        and "__pycache__" not in path.parts
        and not path.name.startswith(".coverage")
        and not any(path.is_relative_to(place) for place in allowed)
        and word.search(path.read_text(errors="replace"))
    ]
    assert not found, f"say it in other words: {found}"


def activity_modules() -> list[str]:
    return [
        f"{package}.{module.name}"
        for package in ("probes", "actions")
        for module in pkgutil.iter_modules([str(ROOT / package)])
    ]


@pytest.mark.parametrize("name", activity_modules())
def test_activities_are_plain_typed_documented_functions(name: str) -> None:
    """Chaos Toolkit never awaits a coroutine and calls it a success; so an activity is a plain `def`."""
    module = importlib.import_module(name)
    assert module.__all__ == sorted(module.__all__), f"sort __all__ of {name}"
    assert module.__all__, f"{name} offers nothing: remove it"
    for exported in module.__all__:
        function = getattr(module, exported)
        assert inspect.isfunction(function), f"{name}.{exported}: write a plain def"
        assert not inspect.iscoroutinefunction(function), f"{name}.{exported}: write a plain def"
        assert function.__doc__, f"{name}.{exported}: say what it returns and what it raises"
        hints = inspect.get_annotations(function)
        assert set(hints) == {*inspect.signature(function).parameters, "return"}, (
            f"{name}.{exported}: annotate everything"
        )


def test_modules_have_names_that_mean_something() -> None:
    nothing_words = {"utils", "helpers", "manager", "common", "misc", "util", "helper"}
    found = [where(path) for path in python_files(*SOURCES) if path.stem in nothing_words]
    assert not found, f"name it after what it holds: {found}"
