"""One fault manifest: a Chaos Mesh object, read, checked and varied before anything is sent.

The object itself is kept as it was written (a newer mesh may know fields that this page does not); beside it
stands a typed view of what the rest of the project asks about. Checking refuses what the mesh would refuse,
and above all what admission accepts and the mesh then hangs on: each case has its own row and its own
sentence in `resync.cluster.refusals`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import yaml

from resync.cluster import refusals
from resync.cluster.durations import parse_s, parse_tc_ms, written_ms, written_s
from resync.cluster.errors import ManifestError
from resync.cluster.kinds import KINDS, FaultKind
from resync.cluster.selectors import Selector, check, selector_of
from resync.kits.reading import read_json, read_object

HITS_LABEL = "resync.dev/hits"
PARTITION_ANNOTATION = "resync.dev/partition"


class Varied(TypedDict, total=False):
    """The parts of a manifest that settings may replace, by argument of `override`."""

    latency_ms: float
    jitter_ms: float
    direction: str
    source_selector: Selector
    target_selector: Selector


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A fault, checked. `document` is the whole object as JSON; the other fields are a view on it.

    `target` is None where the fault has no second side. `latency_ms` and `jitter_ms` are None where there is
    no delay. `mode` is Chaos Mesh's: with anything but `all` the mesh draws from the pods that the selector
    matches.
    """

    kind: str
    name: str
    namespace: str
    action: str | None
    source: Selector
    mode: str
    target: Selector | None
    target_mode: str | None
    direction: str | None
    latency_ms: float | None
    jitter_ms: float | None
    duration_s: float
    document: bytes

    @property
    def row(self) -> FaultKind:
        """Where objects of this kind live."""
        return KINDS[self.kind]

    @property
    def hits(self) -> str:
        """Whose pods a fault with one side says that it is for; the engines' where it says nothing."""
        labels: Mapping[str, str] = self.body()["metadata"].get("labels") or {}
        return labels.get(HITS_LABEL, "engine")

    @property
    def hits_gateway(self) -> bool:
        """Whether a fault with one side only says that it is meant for the gateway's pods."""
        return self.hits == "gateway"

    @property
    def resets(self) -> bool:
        """Whether a partition is to reset the connections it cuts: an option of the lab's mesh."""
        annotations: Mapping[str, str] = self.body()["metadata"].get("annotations") or {}
        return self.action == "partition" and annotations.get(PARTITION_ANNOTATION) == "reset"

    @property
    def one_shot(self) -> bool:
        """Whether the fault happens once and leaves nothing to end; the mesh then ignores its duration."""
        return self.action in self.row.one_shot_actions

    def body(self) -> dict[str, Any]:
        """A fresh copy of the object, to be sent."""
        return read_json(self.document, dict[str, Any])


def load_manifest(path: Path) -> Manifest:
    """The one fault in that YAML or JSON file, checked. Raises ManifestError with the file's name."""
    try:
        found = [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one is not None]
    except OSError as problem:
        raise ManifestError(f"the manifest {path} cannot be read: {problem.strerror}") from problem
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise ManifestError(f"{path} is not YAML: {problem}") from problem
    if len(found) != 1:
        raise ManifestError(f"{path} holds {len(found)} objects; a manifest is exactly one fault")
    return parse_manifest(found[0], where=str(path))


def parse_manifest(document: object, *, where: str = "the manifest") -> Manifest:
    """The fault in a decoded object, checked. Raises ManifestError; `where` opens its message."""
    try:
        body = read_object(document, dict[str, Any])
        refusals.check(body)
        return _view(body)
    except msgspec.ValidationError as problem:
        raise ManifestError(f"{where}: {problem}") from problem
    except ManifestError as problem:
        raise type(problem)(f"{where}: {problem}") from problem


def _view(body: dict[str, Any]) -> Manifest:
    spec = body["spec"]
    delay = spec.get("delay")
    target = spec.get("target") if body["kind"] == "NetworkChaos" else None
    return Manifest(
        kind=body["kind"],
        name=body["metadata"]["name"],
        namespace=body["metadata"].get("namespace", "default"),
        action=spec.get("action"),
        source=_side(spec, "spec.selector"),
        mode=spec["mode"],
        target=_side(target, "spec.target.selector") if target else None,
        target_mode=target["mode"] if target else None,
        direction=spec.get("direction", "to") if body["kind"] == "NetworkChaos" else None,
        latency_ms=parse_tc_ms(delay["latency"]) if isinstance(delay, dict) else None,
        jitter_ms=parse_tc_ms(delay.get("jitter", "0ms")) if isinstance(delay, dict) else None,
        duration_s=parse_s(spec["duration"]),
        document=msgspec.json.encode(body),
    )


def _side(block: Mapping[str, Any], where: str) -> Selector:
    selector = selector_of(block["selector"], where)
    if selector.is_empty():
        raise ManifestError(f"{where} is empty: that means every pod of the namespace; name labels or pods")
    check(selector)
    return selector


def override(
    manifest: Manifest,
    *,
    name: str | None = None,
    namespace: str | None = None,
    duration_s: float | None = None,
    latency_ms: float | None = None,
    jitter_ms: float | None = None,
    direction: str | None = None,
    source_selector: Mapping[str, str] | Selector | None = None,
    target_selector: Mapping[str, str] | Selector | None = None,
    target_namespace: str | None = None,
) -> Manifest:
    """The same fault with those parts replaced, checked again; None leaves a part as it is.

    A selector given as a mapping replaces the labels and keeps the rest of the block. `namespace` moves the
    object and, where its selectors named their namespaces, both sides with it; `target_namespace` then moves
    the target side alone. Raises ManifestError.
    """
    body = manifest.body()
    spec = body["spec"]
    if name is not None:
        body["metadata"]["name"] = name
    if namespace is not None:
        _move(body, namespace)
    _replace(spec, "duration", None if duration_s is None else written_s(duration_s))
    _replace(spec, "direction", direction)
    _replace_in(spec, "delay", latency=_ms(latency_ms), jitter=_ms(jitter_ms))
    _replace_selector(spec, source_selector, "spec.selector")
    if target_selector is not None or target_namespace is not None:
        target = _block(spec, "target")
        _replace_selector(target, target_selector, "spec.target.selector")
        if target_namespace is not None:
            target["selector"]["namespaces"] = [target_namespace]
    return parse_manifest(body, where=f"{manifest.kind} {manifest.name} with these settings")


def _ms(milliseconds: float | None) -> str | None:
    return None if milliseconds is None else written_ms(milliseconds)


def _replace(block: dict[str, Any], key: str, value: object) -> None:
    if value is not None:
        block[key] = value


def _block(spec: dict[str, Any], key: str) -> dict[str, Any]:
    if not isinstance(spec.get(key), dict):
        raise ManifestError(f"this fault has no `{key}` block to vary")
    block: dict[str, Any] = spec[key]
    return block


def _replace_in(spec: dict[str, Any], key: str, **values: str | None) -> None:
    given = {name: value for name, value in values.items() if value is not None}
    if given:
        _block(spec, key).update(given)


def _move(body: dict[str, Any], namespace: str) -> None:
    body["metadata"]["namespace"] = namespace
    for side in (body["spec"], body["spec"].get("target")):
        if isinstance(side, dict) and side.get("selector", {}).get("namespaces"):
            side["selector"]["namespaces"] = [namespace]


def _replace_selector(side: dict[str, Any], wanted: Mapping[str, str] | Selector | None, where: str) -> None:
    if wanted is None:
        return
    if isinstance(wanted, Selector):
        side["selector"] = msgspec.to_builtins(wanted)
    elif not wanted:
        raise ManifestError(f"{where} would be empty: that means every pod of the namespace")
    else:
        side["selector"] = {**side["selector"], "labelSelectors": dict(wanted)}
