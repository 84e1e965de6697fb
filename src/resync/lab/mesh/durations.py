"""Go's durations, the language of Chaos Mesh specs (Go `time.ParseDuration`: `300ms`, `1m30s`, `1.5h`)."""

import re
from typing import Final

_UNITS_S: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")
_WHOLE: Final = re.compile(rf"(?P<sign>[+-]?)(?P<parts>(?:{_PART.pattern})+)")


def seconds(text: str) -> float:
    """Seconds of a Go duration; may be negative. Raises ValueError for anything Go would refuse."""
    if text in ("0", "+0", "-0"):
        return 0.0
    found = _WHOLE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration; write a number and a unit, as in 300ms or 2m")
    total = sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(found["parts"]))
    return -total if found["sign"] == "-" else total
