"""Go durations, as Kubernetes objects write them, and the narrower form that traffic control understands.

`parse_s` reads what Go's `time.ParseDuration` reads. `parse_tc_ms` reads less on purpose: the node daemon of
Chaos Mesh hands latency and jitter to `tc` as text, where `0.5s`, `05ms` and the units m and h pass admission
and then never take effect (chaos-mesh/chaos-mesh issues 5073 and 4392).
"""

import re

_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_TC = re.compile(r"(0|[1-9]\d*)(us|ms|s)")


def parse_s(text: str) -> float:
    """Seconds of a Go duration such as `1m30s`. Raises ValueError."""
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    parts = _PART.findall(rest)
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        raise ValueError(f"{text!r} is not a duration; write it like 20s, 500ms or 1m30s")
    return sign * sum(float(number) * _UNIT_S[unit] for number, unit in parts)


def parse_tc_ms(text: str) -> float:
    """Milliseconds of a delay that really takes effect: one whole number and us, ms or s.

    Raises ValueError.
    """
    match = _TC.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} passes admission and then never takes effect: write one whole number and its unit,"
            " us, ms or s"
        )
    return int(match[1]) * _UNIT_S[match[2]] * 1000


def written_ms(milliseconds: float) -> str:
    """A delay in the form that takes effect, to the microsecond: 50.0 -> `50ms`, 0.5 -> `500us`."""
    micro = round(milliseconds * 1000)
    return f"{micro // 1000}ms" if micro % 1000 == 0 else f"{micro}us"


def written_s(seconds: float) -> str:
    """A duration, to the millisecond: 20.0 -> `20s`, 2.5 -> `2500ms`."""
    milli = round(seconds * 1000)
    return f"{milli // 1000}s" if milli % 1000 == 0 else f"{milli}ms"
