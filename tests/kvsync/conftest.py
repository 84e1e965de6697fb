"""The recorded streams of real engines. No part of the project: where they are absent, tests skip."""

import base64
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "recordings"


@cache
def _lines(name: str) -> tuple[dict[str, Any], ...]:
    lines = [json.loads(line) for line in (RECORDINGS / name).read_text().splitlines()]
    return tuple(
        {**line, "frames": [base64.b64decode(frame) for frame in line["frames"]]}
        if "frames" in line
        else line
        for line in lines
    )


@pytest.fixture(scope="session")
def recording_names() -> frozenset[str]:
    """The recorded files; empty where there are none."""
    return frozenset(path.name for path in RECORDINGS.glob("*.jsonl"))


@pytest.fixture(scope="session")
def recorded(recording_names: frozenset[str]) -> Callable[[str], tuple[dict[str, Any], ...]]:
    """File name -> its lines, frames as bytes."""
    if not recording_names:
        pytest.skip(f"the recorded streams are not here: {RECORDINGS} is absent or empty")
    return _lines


@pytest.fixture(scope="session")
def report() -> Callable[[str], None]:
    """Says how much a test has seen; shown with `pytest -rP`."""
    return print
