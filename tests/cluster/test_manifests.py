"""A manifest that would be accepted and then hang is refused, with its own sentence."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from resync.cluster.durations import parse_s, parse_tc_ms, written_ms, written_s
from resync.cluster.errors import ManifestError, SelectorError
from resync.cluster.manifests import Manifest, load_manifest, override, parse_manifest
from resync.cluster.selectors import Expression, Selector

GONE = object()


def delay(**spec: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "action": "delay",
        "mode": "all",
        "selector": {"namespaces": ["default"], "labelSelectors": {"app": "gateway"}},
        "direction": "both",
        "target": {"mode": "all", "selector": {"labelSelectors": {"app": "vllm"}}},
        "delay": {"latency": "50ms", "jitter": "10ms", "correlation": "0"},
        "duration": "20s",
        **spec,
    }
    return {
        "apiVersion": "chaos-mesh.org/v1alpha1",
        "kind": "NetworkChaos",
        "metadata": {"name": "slow", "namespace": "default"},
        "spec": {key: value for key, value in body.items() if value is not GONE},
    }


def pod_fault(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "chaos-mesh.org/v1alpha1",
        "kind": "PodChaos",
        "metadata": {"name": "kill"},
        "spec": {
            "action": "pod-kill",
            "mode": "one",
            "selector": {"labelSelectors": {"app": "vllm"}},
            "duration": "10s",
            **spec,
        },
    }


def test_a_delay_is_read() -> None:
    found = parse_manifest(delay())
    assert (found.kind, found.name, found.namespace, found.action) == (
        "NetworkChaos",
        "slow",
        "default",
        "delay",
    )
    assert (found.latency_ms, found.jitter_ms, found.duration_s, found.direction) == (
        50.0,
        10.0,
        20.0,
        "both",
    )
    assert found.source.label_selectors == {"app": "gateway"}
    assert found.target is not None
    assert found.target.label_selectors == {"app": "vllm"}
    assert not found.one_shot
    assert parse_manifest(pod_fault()).one_shot


def test_what_is_not_understood_is_kept_as_written() -> None:
    """A newer mesh may know fields that we do not."""
    document = delay(partitionBehavior="drop")
    assert parse_manifest(document).body() == document


LABELS = {"labelSelectors": {"a": "b"}}
SIDE = {"mode": "all", "selector": LABELS}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no block": (delay(delay=GONE), "never injects, and then cannot be deleted"),
    "loss without block": (delay(action="loss", delay=GONE), "action loss without its `loss` block"),
    "bandwidth without block": (delay(action="bandwidth", delay=GONE), "injected with nothing applied"),
    "netem without blocks": (delay(action="netem", delay=GONE), "without any of"),
    "two blocks": (delay(loss={"loss": "10"}), "`loss` block would be applied too"),
    "reorder": (delay(action="reorder"), "there is no action `reorder`"),
    "unknown action": (delay(action="bandwdith"), "is not one of"),
    "fractional latency": (delay(delay={"latency": "0.5s"}), "never takes effect"),
    "leading zero": (delay(delay={"latency": "05ms"}), "never takes effect"),
    "minutes": (delay(delay={"latency": "5m"}), "never takes effect"),
    "two units": (delay(delay={"latency": "1s500ms"}), "never takes effect"),
    "jitter": (delay(delay={"latency": "50ms", "jitter": "0.1ms"}), "never takes effect"),
    "no latency": (delay(delay={}), "latency is required"),
    "number": (delay(delay={"latency": 50}), "latency is required, as text"),
    "zero": (delay(delay={"latency": "0ms"}), "delays nothing"),
    "correlation": (delay(delay={"latency": "5ms", "correlation": "x"}), "not a percentage"),
    "loss above 100": (delay(action="loss", delay=GONE, loss={"loss": "150"}), "not a percentage"),
    "loss 0": (delay(action="loss", delay=GONE, loss={"loss": "0"}), "not a percentage"),
    "negative loss": (delay(action="loss", delay=GONE, loss={"loss": "-3"}), "not a percentage"),
    "no duration": (delay(duration=GONE), "never ends by itself"),
    "empty duration": (delay(duration=""), "never ends by itself"),
    "duration 0s": (delay(duration="0s"), "over before it begins"),
    "negative duration": (delay(duration="-5s"), "over before it begins"),
    "duration 20": (delay(duration="20"), "is not a duration"),
    "empty source": (delay(selector={}), "every pod of the namespace"),
    "only a namespace": (delay(selector={"namespaces": ["default"]}), "every pod of the namespace"),
    "empty target": (delay(target={"mode": "all", "selector": {}}), "spec.target.selector is empty"),
    "no selector": (delay(selector=GONE), "has no `selector`"),
    "no mode": (delay(mode=GONE), "mode None is not one of"),
    "fixed without value": (delay(mode="fixed"), "does not suit mode fixed"),
    "percent 101": (delay(mode="fixed-percent", value="101"), "does not suit mode"),
    "may draw nobody": (delay(mode="random-max-percent", value="50"), "may draw no pod at all"),
    "both without target": (delay(target=GONE), "direction both needs a target"),
    "sideways": (delay(direction="sideways"), "not one of to, from, both"),
    "external both": (delay(externalTargets=["10.0.0.1"]), "cannot be combined"),
    "external name": (delay(direction="to", externalTargets=["example.com"]), "is not IPv4"),
    "remote": (delay(remoteCluster="far"), "ignore the fault"),
    "node selectors": (delay(selector={**LABELS, "nodeSelectors": {"a": "b"}}), "name `nodes` instead"),
    "unknown selector field": (delay(selector={**LABELS, "podz": []}), "cannot be evaluated here"),
    "unknown operator": (
        delay(selector={"expressionSelectors": [{"key": "a", "operator": "Like", "values": ["b"]}]}),
        "is not one of In",
    ),
    "unknown phase": (delay(selector={**LABELS, "podPhaseSelectors": ["Running!"]}), "is not a pod phase"),
    "unknown field": (delay(selector={**LABELS, "fieldSelectors": {"a": "b"}}), "cannot be evaluated"),
    "a list for a block": (delay(delay=["50ms"]), "never injects"),
    "words for a spec": ({**delay(), "spec": "x"}, "no `spec` block"),
    "kind": ({**delay(), "kind": "Chaos"}, "is not one of NetworkChaos"),
    "version": ({**delay(), "apiVersion": "v1"}, "apiVersion must be"),
    "no name": ({**delay(), "metadata": {"generateName": "x-"}}, "generateName would hide"),
    "paused": (
        {**delay(), "metadata": {"name": "x", "annotations": {"experiment.chaos-mesh.org/pause": "true"}}},
        "ever being injected",
    ),
    "managed-by": ({**delay(), "metadata": {"name": "x", "labels": {"managed-by": "me"}}}, "schedules"),
    "container-kill": (pod_fault(action="container-kill"), "needs containerNames"),
    "pod action": (pod_fault(action="pod-maim"), "is not one of pod-kill"),
    "stress-ng": ({**pod_fault(stressngStressors="--x"), "kind": "StressChaos"}, "never run"),
    "no workers": ({**pod_fault(stressors={"cpu": {"workers": 0}}), "kind": "StressChaos"}, "0 workers"),
    "no stressors": ({**pod_fault(stressors={}), "kind": "StressChaos"}, "no stressors"),
    "time offset": ({**pod_fault(timeOffset="soon"), "kind": "TimeChaos"}, "timeOffset"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_each_trap_has_its_sentence(name: str) -> None:
    document, words = REFUSED[name]
    with pytest.raises(ManifestError) as raised:
        parse_manifest(document, where="x.yaml")
    assert words in str(raised.value)
    assert str(raised.value).startswith("x.yaml: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "document",
    [
        delay(),
        delay(direction="to", target=GONE),
        delay(action="partition", delay=GONE),
        delay(action="partition", delay=GONE, target=GONE),
        delay(action="loss", delay=GONE, loss={"loss": "12.5", "correlation": "50"}),
        delay(action="netem", loss={"loss": "1"}),
        delay(mode="fixed", value="2"),
        delay(mode="fixed-percent", value="100"),
        delay(direction="to", externalTargets=["10.0.0.0/8:5557"], target=GONE),
        delay(duration="1m30s"),
        pod_fault(),
        pod_fault(action="pod-failure"),
        {**pod_fault(timeOffset="-10m"), "kind": "TimeChaos"},
        {**pod_fault(stressors={"cpu": {"workers": 1}}), "kind": "StressChaos"},
    ],
)
def test_what_works_is_not_refused(document: dict[str, Any]) -> None:
    assert parse_manifest(document).body() == document


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(delay()["spec"])), JSON)
def test_no_shape_of_a_spec_brings_a_traceback(key: str, value: object) -> None:
    try:
        parse_manifest(delay(**{key: value}))
    except ManifestError:
        return


@given(st.sampled_from(["apiVersion", "kind", "metadata", "spec"]), JSON)
def test_no_shape_of_an_object_brings_a_traceback(key: str, value: object) -> None:
    with pytest.raises(ManifestError):
        parse_manifest({**delay(), key: value})


@given(JSON)
def test_no_document_brings_a_traceback(document: object) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(document)


def changed(**how: Any) -> Manifest:
    return override(parse_manifest(delay()), **how)


def test_overrides_change_what_they_say_and_nothing_else() -> None:
    found = changed(
        name="other",
        duration_s=2.5,
        latency_ms=80,
        jitter_ms=0.5,
        direction="from",
        target_selector={"x": "y"},
    )
    wanted = delay(
        duration="2500ms",
        delay={"latency": "80ms", "jitter": "500us", "correlation": "0"},
        direction="from",
        target={"mode": "all", "selector": {"labelSelectors": {"x": "y"}}},
    )
    wanted["metadata"]["name"] = "other"
    assert found.body() == wanted
    assert changed().body() == delay()


def test_a_namespace_moves_the_object_and_the_sides_that_named_theirs() -> None:
    found = changed(namespace="prod")
    assert found.namespace == "prod"
    assert found.source.places("prod") == ("prod",)
    assert found.target is not None
    assert found.target.places("prod") == ("prod",)
    apart = changed(namespace="prod", target_namespace="models")
    assert apart.target is not None
    assert (apart.source.places("prod"), apart.target.places("prod")) == (("prod",), ("models",))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"latency_ms": 0}, "delays nothing"),
        ({"duration_s": 0}, "over before"),
        ({"direction": "up"}, "direction"),
        ({"source_selector": {}}, "would be empty"),
        ({"source_selector": Selector()}, "is empty"),
    ],
)
def test_an_override_is_checked_like_a_manifest(how: dict[str, Any], words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        changed(**how)


def test_an_override_of_what_is_not_there_is_refused() -> None:
    with pytest.raises(ManifestError, match="no `delay` block"):
        override(parse_manifest(pod_fault()), latency_ms=5)
    with pytest.raises(ManifestError, match="no `target` block"):
        override(parse_manifest(pod_fault()), target_selector={"a": "b"})


def test_a_whole_selector_may_replace_one() -> None:
    wanted = Selector(
        namespaces=("prod",),
        expression_selectors=(Expression("app", "In", ("a", "b")),),
        pod_phase_selectors=("Running",),
    )
    assert changed(source_selector=wanted).source == wanted


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "fault.yaml"
    path.write_text(yaml.safe_dump(delay()) + "---\n")
    assert load_manifest(path).name == "slow"
    with pytest.raises(ManifestError, match="cannot be read"):
        load_manifest(tmp_path / "missing.yaml")
    path.write_text("a: [")
    with pytest.raises(ManifestError, match="is not YAML"):
        load_manifest(path)
    path.write_text(yaml.safe_dump_all([delay(), delay()]))
    with pytest.raises(ManifestError, match="holds 2 objects"):
        load_manifest(path)
    path.write_text("")
    with pytest.raises(ManifestError, match="holds 0 objects"):
        load_manifest(path)


def test_selector_errors_stay_selector_errors() -> None:
    with pytest.raises(SelectorError):
        parse_manifest(delay(selector={**LABELS, "nodeSelectors": {"a": "b"}}))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20s", 20),
        ("500ms", 0.5),
        ("1m30s", 90),
        ("2h45m", 9900),
        ("1.5h", 5400),
        ("-1m", -60),
        ("0", 0),
        ("+3us", 3e-6),
    ],
)
def test_go_durations(text: str, seconds: float) -> None:
    assert parse_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "20", "s", "1 s", "1d", "1m30", "--1s", "s1", "."])
def test_what_go_would_not_parse(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_s(text)


@given(st.integers(1, 10**9))
def test_what_is_written_takes_effect_and_means_the_same(micro: int) -> None:
    assert parse_tc_ms(written_ms(micro / 1000)) == pytest.approx(micro / 1000)
    assert parse_s(written_s(micro / 1000)) == pytest.approx(micro / 1000)


def test_a_manifest_can_be_recorded() -> None:
    assert msgspec.json.encode(parse_manifest(delay()).source)


SHIPPED = sorted((Path(__file__).parents[2] / "chaos-mesh").glob("*.yaml"))


def test_manifests_are_shipped() -> None:
    assert SHIPPED


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_we_ship_is_accepted_by_its_own_checks(path: Path) -> None:
    assert load_manifest(path).duration_s > 0


def test_a_shipped_fault_with_one_side_says_whose_pods_it_is_for() -> None:
    hits = {path.stem: load_manifest(path).hits for path in SHIPPED}
    assert hits["prometheus-loss"] == "prometheus"
    assert hits["pod-failure"] == "engine"
