"""The engine's command line, vLLM's event configuration, and the deliberate defects."""

import pytest

from resync.engine import flaws, kv_events_config
from resync.engine.errors import OptionsError
from resync.engine.flaws import Distortion, Flaw, FlawKind
from resync.engine.hashing import FullBlock, extend
from resync.engine.options import parse
from resync.engine.pool import Happening, Removed, Stored
from resync.kvsync.wire import HashForm, WireForm


def test_vllms_defaults_hold_for_keys_that_are_left_out() -> None:
    config = kv_events_config.parse("{}")
    assert (config.publishes, config.endpoint, config.replay_endpoint) == (False, "tcp://*:5557", None)
    limits = (config.buffer_steps, config.hwm, config.max_queue_size)
    assert (*limits, config.topic) == (10_000, 100_000, 100_000, "")


def test_enabling_events_is_enough_to_publish_over_zeromq() -> None:
    assert kv_events_config.parse('{"enable_kv_cache_events": true}').publishes
    assert not kv_events_config.parse('{"enable_kv_cache_events": true, "publisher": "null"}').publishes


def test_without_the_option_an_engine_of_the_lab_publishes_and_replays() -> None:
    config = parse([]).kv_events
    assert (config.publishes, config.replay_endpoint) == (True, "tcp://*:5558")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--kv-events-config", '{"endpont": "tcp://*:5557"}'],
            "unknown field `endpont`.*Known keys: ",
        ),
        (["--kv-events-config", "{"], "--kv-events-config: "),
        (["--kv-events-config", '{"publisher": "kafka"}'], 'publisher is "null" or "zmq", not "kafka"'),
        (["--kv-events-config", '{"endpoint": "tcp://127.0.0.1:5557"}'], "does not listen .*: use tcp://"),
        (["--kv-events-config", '{"replay_endpoint": "tcp://*:99999"}'], "does not listen"),
        (["--kv-events-config", '{"buffer_steps": 0}'], "buffer_steps must be at least 1"),
        (["--wire-form", "xml"], "--wire-form"),
        (["--blocks", "0"], "--blocks"),
        (["--flaw", "drop-evnt"], "'drop-evnt' is not NAME"),
        (["--flaw", "silent:soon"], "'silent:soon' is not NAME"),
        (["--news-every", "0"], "--news-every"),
        (["--replay-latency-ms", "-1"], "--replay-latency-ms"),
        (["--nonsense"], "--nonsense is no option of this engine"),
        (["--no-enable-prefix-caching"], "--no-enable-prefix-caching is no option"),
    ],
)
def test_a_wrong_argument_is_one_sentence(arguments: list[str], sentence: str) -> None:
    with pytest.raises(OptionsError, match=sentence) as caught:
        parse(arguments)
    assert "\n" not in str(caught.value)


def test_forms_timing_and_flaw_are_parsed_into_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_BIND_IP", "127.9.1.4")
    monkeypatch.setenv("POD_NAMESPACE", "blue")
    monkeypatch.setenv("POD_NAME", "engine-7")
    forms = ["--wire-form", "map-batch", "--hash-form", "bytes"]
    options = parse([*forms, "--decode-token-ms", "3", "--flaw", "silent:4"])
    assert (options.wire_form, options.hash_form) == (WireForm.MAP_BATCH, HashForm.BYTES)
    assert options.timing.decode_token_s == pytest.approx(0.003)
    assert (options.host, options.pod_key) == ("127.9.1.4", "blue/engine-7")
    assert options.flaw == Flaw(FlawKind.SILENT, 4)


def three_blocks() -> list[FullBlock]:
    chain: list[FullBlock] = []
    extend(chain, (1, 2, 3), block_size=1)
    return chain


@pytest.mark.parametrize(
    ("pod_name", "seed"), [("engine-0", 5), ("engine-7", 12), ("vllm-7d4f-x2k", 5), ("engine", 5)]
)
def test_the_pods_of_a_set_differ_by_the_number_in_their_name(
    monkeypatch: pytest.MonkeyPatch, pod_name: str, seed: int
) -> None:
    monkeypatch.setenv("POD_NAME", pod_name)
    assert parse(["--seed", "5"]).seed == seed


def test_drop_event_leaves_out_one_event_of_one_block_once_and_only_after_its_time() -> None:
    first, second, third = three_blocks()
    happenings: list[Happening] = [Removed(first), Stored((first, second)), Stored((third,))]
    distortion = Distortion(flaws.parse("drop-event:2"))
    assert distortion.applied(happenings, 1) == happenings
    assert distortion.applied(happenings, 2) == happenings[:2]
    assert distortion.applied(happenings, 3) == happenings


def test_silent_swallows_every_batch_after_its_time() -> None:
    distortion = Distortion(flaws.parse("silent:2"))
    assert [distortion.silences(published) for published in (0, 1, 2, 3)] == [False, False, True, True]


def test_no_flaw_changes_nothing() -> None:
    happenings: list[Happening] = [Stored((three_blocks()[0],))]
    distortion = Distortion(flaws.NO_FLAW)
    assert distortion.applied(happenings, 9) == happenings
    assert not distortion.silences(10**9)


def test_a_manifest_for_vllm_needs_no_rewriting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_BIND_IP", "127.9.1.4")
    written = (
        "--host 0.0.0.0 --port 8001 --model facebook/opt-125m --served-model-name test-model --dtype half"
    )
    ignored = "--gpu-memory-utilization 0.9 --max-model-len=2048 --enforce-eager --enable-prefix-caching"
    options = parse([*written.split(), *ignored.split(), "--num-gpu-blocks-override", "64"])
    assert (options.host, options.http_port, options.model) == ("127.9.1.4", 8001, "test-model")
    assert options.blocks == 64
    assert parse(["--host", "127.0.0.9", "facebook/opt-125m"]).model == "facebook/opt-125m"
    assert parse(["--host", "127.0.0.9"]).host == "127.0.0.9"


@pytest.mark.parametrize(
    ("flag", "key"),
    [
        (["--enable-kv-cache-events"], '"enable_kv_cache_events": true'),
        (["--kv-events-publisher", "zmq"], '"publisher": "zmq"'),
        (["--kv-events-endpoint", "tcp://*:5557"], '"endpoint": "tcp://*:5557"'),
        (["--kv-events-replay-endpoint", "tcp://*:5558"], '"replay_endpoint": "tcp://*:5558"'),
    ],
)
def test_a_flag_that_never_was_is_refused_with_what_to_write_instead(flag: list[str], key: str) -> None:
    with pytest.raises(OptionsError) as caught:
        parse(flag)
    said = str(caught.value)
    assert said.startswith(f"vLLM has no flag {flag[0]}, ")
    assert f"--kv-events-config '{{{key}, ...}}'" in said
