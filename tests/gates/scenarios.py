"""Every scenario of the task document's six groups, and the share of each group that has to be tested.

The document gives the shares and, in its own tests, some of the cases. The rest follows from the tables that
the code runs: what can happen to a followed pod from the fields of the fleet, the flow of events and its
errors from the subscriber's transition table, the failures from the shipped experiments. Nothing here follows
from the tests that exist, so that a case nobody thought of shows as a case nobody tests.

A test claims one with `@pytest.mark.scenario("pod-lifecycle/ip-change")` (`scenario_claims`); `make docs`
writes docs/scenarios.md from this; `python tests/gates/scenarios.py FILE` judges what a run of the tests has
written down as passed.
"""

import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from resync.kvsync.dialects import WireForm
from resync.kvsync.fleet import PodFacts
from resync.kvsync.records import AllBlocksCleared, BlockRemoved, BlockStored
from resync.kvsync.router import RoutingFailure
from resync.kvsync.transitions import AWAITING, TRANSITIONS, Action, Input, State

ROOT = Path(__file__).parents[2]


class Group(NamedTuple):
    """One of the document's six; `e2e`: only whole runs on a lab may claim its scenarios."""

    title: str
    percent_min: int
    e2e: bool


class Scenario(NamedTuple):
    """`name` is group/case; `source` says what it follows from."""

    name: str
    what: str
    source: str

    @property
    def group(self) -> str:
        """The first half of its name."""
        return self.name.partition("/")[0]


GROUPS: Final = {
    "pod-lifecycle": Group("Integration: pod lifecycle", 100, e2e=False),
    "event-flow": Group("Integration: event flow", 90, e2e=False),
    "errors": Group("Integration: errors", 85, e2e=False),
    "basic": Group("E2E: basic functionality", 100, e2e=True),
    "scaling": Group("E2E: scaling", 90, e2e=True),
    "failure": Group("E2E: failure", 80, e2e=True),
}
"""The shares are those of the document's section "Test Coverage Requirements"."""

DOCUMENT: Final = "document"
FLOW: Final = (
    Input.CONNECTED,
    Input.LIVE_NEXT,
    Input.REPLAY_NEXT,
    Input.REPLAY_KNOWN,
    Input.ANSWER_COMPLETE,
    Input.ANSWER_UNCONFIRMED,
)
"""What happens to a stream that lacks nothing; every other input is an error of somebody's."""

PHASES_NOT_RUNNING: Final = ("Pending", "Succeeded", "Failed", "Unknown")
"""Kubernetes' phases of a pod, without the one in which it is followed."""

IN_THE_DOCUMENT: Final = {
    # from its tests of the KV event manager and of the router's backward compatibility
    "pod-lifecycle/add": "a pod that passes the gate is subscribed to",
    "pod-lifecycle/ip-change": "another address: purged and subscribed anew",
    "pod-lifecycle/delete": "a deleted pod is unsubscribed",
    "pod-lifecycle/no-kv-events-label": "not subscribed to",
    "pod-lifecycle/not-running": "not subscribed to",
    "pod-lifecycle/no-ip": "not subscribed to",
    "pod-lifecycle/both-enabled": "KV sync is on, and the synced index is asked",
    "pod-lifecycle/remote-tokenizer-only": "KV sync is off, and the original index is asked",
    "pod-lifecycle/both-disabled": "KV sync is off, and the original index is asked",
    # from its tests of the ZMQ client and of the indexer
    "event-flow/connect-twice": "the second connect changes nothing",
    "event-flow/event-processing": "a published event reaches the handler",
    "event-flow/many-pods-at-once": "10 publishers, 100 batches each: 1,000 mappings, none lost",
    "event-flow/prefix-match": "blocks that were stored match, per pod, from the start",
    "errors/reconnection": "a publisher that goes and comes back is followed again",
    "errors/kv-sync-without-remote-tokenizer": "KV sync stays off, with a warning",
    # from its end-to-end test
    "basic/deployment-ready": "its Deployment, with events enabled, becomes ready and is followed",
    "basic/first-response": "a request through the gateway is answered",
    "basic/second-request-hits": "the second request with one prefix finds it on the routed pod",
    "basic/routing-metric": "aibrix_prefix_cache_routing_decisions_total counts it",
    "basic/warmed-behind-the-gateway": "a prefix that only events can have told of is routed to its holder",
    "scaling/second-pod-ready": "scaled from 1 to 2, both are ready",
    "scaling/new-pod-gets-events": "the gateway follows the new pod, and its index is right",
    "scaling/distribution": "10 requests: all answered, both pods served, by header and by engine counter",
}


def _pod_lifecycle() -> Iterator[Scenario]:
    for field in PodFacts.__struct_fields__:
        if field not in {"pod_key", "ip"}:  # the key is the pod; the address is the document's own case
            yield Scenario(f"pod-lifecycle/{field}-change", f"`{field}` of a followed pod changes", "fleet")
    for phase in PHASES_NOT_RUNNING:
        yield Scenario(f"pod-lifecycle/{phase.lower()}", f"phase {phase}: not followed", "fleet")
    yield Scenario("pod-lifecycle/unchanged", "nothing that matters changes: nothing is ended", "fleet")
    yield Scenario("pod-lifecycle/no-model", "a pod that names no model is not followed", "fleet")
    yield Scenario("pod-lifecycle/several-at-once", "pods that come, stay, move and go in one list", "fleet")


def _event_flow() -> Iterator[Scenario]:
    yield from _transitions("event-flow", FLOW)
    for event in (BlockStored, BlockRemoved, AllBlocksCleared):
        what = f"{event.__name__} becomes the call on the index that it means, for its sender"
        yield Scenario(f"event-flow/{event.__name__}", what, "records")
    for form in WireForm:
        yield Scenario(f"event-flow/wire-{form}", f"events published as {form} are read", "wire")


def _errors() -> Iterator[Scenario]:
    yield from _transitions("errors", [one for one in Input if one not in FLOW])
    for failure in RoutingFailure:
        slug = failure.value.replace("_", "-")
        yield Scenario(f"errors/{slug}", "the router's failure is counted, and said", "router")
    yield from (
        Scenario("errors/unknown-event", "counted; the rest of its batch is applied", "wire"),
        Scenario("errors/malformed-event", "named; the rest of its batch is applied, degraded", "wire"),
        Scenario("errors/unreadable-batch", "its number is used up, degraded, the stream goes on", "wire"),
        Scenario("errors/wrong-frames", "counted; the stream goes on", "frames"),
        Scenario("errors/full-index", "what the limits refuse is counted, and the pod lacks blocks", "index"),
        Scenario("errors/half-open-connection", "found by heartbeats", "transport"),
        Scenario("errors/replay-port-closed", "waited for; nobody else is delayed", "transport"),
    )


def _transitions(group: str, inputs: Iterable[Input]) -> Iterator[Scenario]:
    """Every entry of the table that does something; the states that await an answer share their rows."""
    for what in inputs:
        for name, state in (
            ("live", State.LIVE),
            ("awaiting", min(AWAITING)),
            ("connecting", State.CONNECTING),
        ):
            action = TRANSITIONS[state][what].action
            if action is not Action.IGNORE:
                slug = what.name.lower().replace("_", "-")
                yield Scenario(f"{group}/{slug}-while-{name}", f"{what}: {action}", "transitions")


def _failure() -> Iterator[Scenario]:
    for path in sorted((ROOT / "experiments").glob("*.json")):
        what = "a healthy system comes out as the experiment says, with the fault's effect proven"
        yield Scenario(f"failure/{path.stem}", what, "experiments")
    yield from (
        Scenario("failure/broken-system", "a deliberate defect fails, with kind, pod and count", "design"),
        Scenario("failure/stopped-run", "SIGTERM at any step heals, and the run is void", "design"),
        Scenario("failure/killed-run", "after SIGKILL the fault ends by its own expiry", "design"),
        Scenario("failure/swept", "what a killed run left is found and swept", "design"),
        Scenario("failure/second-run", "refused while the first holds the lease", "design"),
        Scenario("failure/nothing-selected", "void", "design"),
        Scenario("failure/no-effect", "a fault that does nothing: void", "design"),
        Scenario("failure/fault-ended-early", "void", "design"),
        Scenario("failure/metrics-lost", "no Prometheus in the window: void", "design"),
        Scenario("failure/never-exercised", "nothing held and nothing indexed: void", "design"),
    )


def _scale_down() -> Iterator[Scenario]:
    yield Scenario(
        "scaling/pod-leaves", "scaled down, the pod's entries are gone and the rest serves", "fleet"
    )


def _all() -> Iterator[Scenario]:
    yield from (Scenario(name, what, DOCUMENT) for name, what in IN_THE_DOCUMENT.items())
    for derived in (_pod_lifecycle, _event_flow, _errors, _scale_down, _failure):
        yield from derived()


SCENARIOS: Final = {one.name: one for one in _all()}


def shares(passed: Collection[str]) -> Iterator[tuple[str, int, int, list[str]]]:
    """Group, how many of its scenarios are in `passed`, how many there are, and those that are not."""
    for group in GROUPS:
        names = [name for name, one in SCENARIOS.items() if one.group == group]
        open_ = [name for name in names if name not in passed]
        yield group, len(names) - len(open_), len(names), open_


def judge(passed: Collection[str]) -> Iterator[str]:
    """A line for each group below its share: which one, and what is missing."""
    for group, done, of, open_ in shares(passed):
        if done * 100 < GROUPS[group].percent_min * of:
            claim = ", ".join(f'"{name}"' for name in open_)
            share = f"{group}: below {GROUPS[group].percent_min} %"
            yield f"{share}; no test that passed has @pytest.mark.scenario({claim})"


def main(record: Path) -> int:
    """Print the shares of what is written in `record`; 1 when one is too low."""
    passed = set(record.read_text(encoding="utf-8").split())
    print("scenarios of the task document that a passed test claims:")
    for group, done, of, _open in shares(passed):
        title, percent_min, _ = GROUPS[group]
        print(f"  {title:28} {done:3} of {of:3} = {done * 100 // of:3} % (at least {percent_min} %)")
    below = list(judge(passed))
    print("\n".join(below), file=sys.stderr, end="\n" if below else "")
    return bool(below)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
