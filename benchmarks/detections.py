"""Whether a run found what was predicted, and the page that says so. Runs come in as their verdict lines."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from benchmarks.mutants import CONTROLS, MUTANTS, SHORT_OF_RING, Mutant, Predicted, Where
from resync.run.records import FaultInjected, Record, SamplesTaken, TargetJoined
from resync.run.samples import CONTROL_POD

SEEDS = (1, 2, 3)
CAUGHT = "found"
CATALOGUE = "healthy-run"
"""Under which name the runs of the catalogue are kept, by number."""


class Run(msgspec.Struct, frozen=True):
    """One run: the verdict line's content, and from the injection to the first sample that shows it."""

    line: dict[str, Any]
    after_s: float | None = None


Runs = Mapping[str, Mapping[int, Run]]
"""By mutant and seed."""


def pods(predicted: Predicted, hit: Iterable[str]) -> str:
    """A pattern for the engines it may show on, `hit` being those that the fault was on."""
    if predicted.where is Where.ANY:
        return r"default/engine-\d+"
    return "|".join(map(re.escape, hit)) or "(?!)"


def hit_by(line: Mapping[str, Any]) -> Iterable[str]:
    """The engines that the fault was on, as the verdict line has them."""
    effect: Mapping[str, Any] = line.get("effect") or {}
    return tuple(effect.get("pods", ()))


def phases(predicted: Predicted, line: Mapping[str, Any]) -> set[str]:
    """In which phases after the baseline the claim was broken as predicted."""
    kinds = "|".join(map(re.escape, predicted.kinds))
    where = pods(predicted, hit_by(line))
    worst = rf"[\d.]+ ({kinds})( blocks)? on ({where})\b"
    beside = rf"[\d.]+ .* on ({where}) at one cut, beside [^,]*\b({kinds})\b"
    says = re.compile(f"{worst}|{beside}")
    return {
        claim["phase"]
        for claim in line["claims"]
        if claim["claim"] == predicted.claim
        and claim["outcome"] == "breached"
        and claim["phase"] != "baseline"
        and says.match(claim["detail"])
    }


def came_to(predicted: Predicted, line: Mapping[str, Any]) -> str:
    """`CAUGHT`, or what the run came to instead: a fail for another reason is not what was predicted."""
    if line["verdict"] != "fail":
        return f"{line['verdict']}: {line['reason']}"
    return CAUGHT if phases(predicted, line) else f"fail for another reason: {line['reason']}"


def first_shown_s(predicted: Predicted, line: Mapping[str, Any], records: Sequence[Record]) -> float | None:
    """Seconds from the injection to the first sample that shows it; None where none does.

    Of the phases in which it convicts: an index that still lists an engine that is down is no defect.
    """
    broken, hit = phases(predicted, line), hit_by(line)
    injected = next((r for r in records if isinstance(r, FaultInjected)), None)
    joined = next((r for r in records if isinstance(r, TargetJoined)), None)
    if injected is None or joined is None:
        return None
    late = predicted.claim == "staleness"
    metric = "resync_staleness_seconds" if late else "resync_divergence_blocks"
    limit = joined.settings.staleness_limit_s if late else 0.0
    shown = [
        at_s
        for taken in records
        if isinstance(taken, SamplesTaken) and taken.phase in broken
        for series in taken.series
        if series.metric == metric and _is_of(predicted, series.labels, hit)
        for at_s, value in series.points
        if value > limit and max(injected.created_s, taken.window[0]) <= at_s <= taken.window[1]
    ]
    return min(shown) - injected.created_s if shown else None


def _is_of(predicted: Predicted, labels: Mapping[str, str], hit: Iterable[str]) -> bool:
    pod = labels.get("pod_key", "")
    there = pod != CONTROL_POD and re.fullmatch(pods(predicted, hit), pod)
    return bool(there) and labels.get("kind", predicted.kinds[0]) in predicted.kinds


def found(mutant: Mutant, runs: Mapping[int, Run]) -> list[Run]:
    """The runs that found it."""
    if mutant.predicted is None:
        return []
    return [run for run in runs.values() if came_to(mutant.predicted, run.line) == CAUGHT]


def is_found(mutant: Mutant, runs: Mapping[int, Run]) -> bool:
    """Whether each seed's run found it."""
    return len(found(mutant, runs)) == len(SEEDS)


def summary(runs: Runs) -> str:
    """One sentence on the table."""
    caught = sum(is_found(mutant, runs.get(mutant.name, {})) for mutant in MUTANTS)
    healthy = [run for control in CONTROLS for run in runs.get(control.name, {}).values()]
    alarms = sum(run.line["verdict"] != "pass" for run in healthy)
    return (
        f"{caught} of {len(MUTANTS)} deliberate defects are found for the predicted reason, on {len(SEEDS)} "
        f"of {len(SEEDS)} seeds; {alarms} of {len(healthy)} runs with a healthy gateway did not pass"
    )


def alarm(run: Run) -> str:
    """What a healthy run came to instead of what it has to; empty: nothing is wrong with it."""
    verdict, wanted = run.line["verdict"], run.line.get("ends", "pass")
    return "" if verdict == wanted else f"ALARM, {verdict}: {run.line['reason']}"


def in_a_row(runs: Runs) -> str:
    """One sentence on the healthy runs of the catalogue."""
    healthy = runs.get(CATALOGUE, {})
    alarms = sum(bool(alarm(run)) for run in healthy.values())
    return f"{len(healthy)} healthy runs of the catalogue in a row: {alarms} alarms"


def _catalogue(runs: Runs) -> Iterable[str]:
    healthy = runs.get(CATALOGUE, {})
    ended = Counter((run.line["experiment"], run.line["verdict"]) for run in healthy.values())
    yield from ("| experiment | runs | ended |", "|---|---|---|")
    yield from (f"| {title} | {count} | {verdict} |" for (title, verdict), count in sorted(ended.items()))
    yield ""
    yield from (f"- run {n}: {_short(alarm(run))}" for n, run in sorted(healthy.items()) if alarm(run))


def page(runs: Runs, settings: Mapping[str, Sequence[str]]) -> str:
    """docs/detection.md; `settings` by experiment."""
    missed = [mutant for mutant in MUTANTS if not is_found(mutant, runs.get(mutant.name, {}))]
    rows = [_row(mutant, runs.get(mutant.name, {})) for mutant in MUTANTS]
    controls = [_row(mutant, runs.get(mutant.name, {})) for mutant in CONTROLS]
    said = [line for mutant in missed for line in _why_missed(mutant, runs.get(mutant.name, {}))]
    shown = [f"- {experiment}: `{' '.join(given)}`" for experiment, given in settings.items()]
    return "\n".join(
        [
            "# What is found", "",
            "Written by `make detection`: a lab for each run, its gateway with one defect that somebody had.",
            "A mutant is found when the run fails, for the predicted claim, with the predicted kind, on an",
            "engine it was predicted for; any other failure and any void is missed. The time is from the",
            "injection to the first sample that shows it: what only the end of the fault brings to light",
            "shows after the 6 s that it stands. Settings:", "", *shown, "",
            "What a lab and a run have beside that:", "", *_own_settings(),
            "", summary(runs) + ".", "", *_HEAD, *rows, "",
            "## Healthy runs in a row", "",
            f"{in_a_row(runs)}. In a lab whose gateway has no defect; an alarm is any end but pass, or",
            "void where that is how the experiment has to end.", "", *_catalogue(runs), "",
            "## Healthy gateways, listed as mutants", "",
            "Each of them has to be missed, and to pass.", "", *_HEAD, *controls, "",
            *(line for control in CONTROLS for line in _why_missed(control, runs.get(control.name, {}))), "",
            "## A healthy gateway before a ring that is too short", "",
            "What the ring has lost nobody can know: blocks are missing until they are gone, the gateway",
            "says so, and the run fails. Nothing that it believes may be untrue: it has to be missed.",
            "", *_HEAD, _row(SHORT_OF_RING, runs.get(SHORT_OF_RING.name, {})), "",
            *_why_missed(SHORT_OF_RING, runs.get(SHORT_OF_RING.name, {})), "",
            "## Missed, and why", "", *said,
        ]
    ).rstrip() + "\n"  # fmt: skip


def _own_settings() -> Iterable[str]:
    for mutant in (*MUTANTS, *CONTROLS, SHORT_OF_RING):
        if mutant.predicted is not None and (mutant.predicted.lab or mutant.predicted.settings):
            settings = (f"{name}={value}" for name, value in mutant.predicted.settings)
            yield f"- {mutant.name}: `{' '.join([*settings, *mutant.predicted.lab])}`"


_HEAD = (
    "| mutant | comes from | what it does | experiment | predicted | found | after |",
    "|---|---|---|---|---|---|---|",
)


def _row(mutant: Mutant, runs: Mapping[int, Run]) -> str:
    predicted = mutant.predicted
    if predicted is None:
        cells = ["none of today", "", "missed", ""]
    else:
        said = f"{predicted.claim}: {' or '.join(predicted.kinds)}, {predicted.where}"
        cells = [predicted.experiment, said, _count(mutant, runs), _times(found(mutant, runs))]
    return f"| {' | '.join([f'`{mutant.name}`', mutant.source, mutant.does, *cells])} |"


def _count(mutant: Mutant, runs: Mapping[int, Run]) -> str:
    if not runs:
        return "missed: not run"
    mark = "" if is_found(mutant, runs) else "missed: "
    return f"{mark}{len(found(mutant, runs))} of {len(SEEDS)}"


def _times(runs: Iterable[Run]) -> str:
    times = sorted(run.after_s for run in runs if run.after_s is not None)
    return f"{times[0]:.1f} to {times[-1]:.1f} s" if times else ""


def _why_missed(mutant: Mutant, runs: Mapping[int, Run]) -> Iterable[str]:
    yield f"- `{mutant.name}`" + (f": {mutant.why_not}." if mutant.why_not else "")
    for seed, run in sorted(runs.items()):
        if mutant.predicted is not None:
            yield f"  - seed {seed}: {_short(came_to(mutant.predicted, run.line))}"


def _short(text: str, length_max: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length_max else f"{line[: length_max - 4]} ..."
