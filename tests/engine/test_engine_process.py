"""An engine as a process: vLLM's HTTP, a stream a plain SUB can fold, replay, truth from the pool."""

import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from resync.kits.waits import wait_until
from resync.kvsync.chain import prefix_keys
from resync.kvsync.records import AllBlocksCleared, BlockRemoved, BlockStored

pytestmark = pytest.mark.integration

EngineFactory = Callable[..., Any]
Listen = Callable[[Any], Any]
STOP_S_MAX = 2.0


def prompts(count: int, *, seed: int = 0) -> list[list[int]]:
    """Prompts over few families, some of them exact multiples of 16, so that copies and evictions happen."""
    dice = random.Random(seed)
    prefixes = [[family * 1000 + place for place in range(64)] for family in range(4)]
    tails: tuple[list[int], ...] = ([], [1] * 16, [2] * 5, [dice.randrange(9000) for _ in range(40)])
    return [dice.choice(prefixes) + dice.choice(tails) for _ in range(count)]


def test_the_second_request_finds_the_prefix_of_the_first(engine: EngineFactory) -> None:
    server = engine()
    first, second = (server.complete(list(range(40)), max_tokens=3) for _ in range(2))
    assert (first["prompt_tokens"], first["completion_tokens"], first["total_tokens"]) == (40, 3, 43)
    assert [usage["prompt_tokens_details"]["cached_tokens"] for usage in (first, second)] == [0, 32]


def test_text_is_a_prompt_too(engine: EngineFactory) -> None:
    server = engine("--block-size", "4")
    usages = [server.complete("to be, or not to be: that is") for _ in range(2)]
    assert [usage["prompt_tokens"] for usage in usages] == [10, 10]
    assert usages[1]["prompt_tokens_details"]["cached_tokens"] == 8


def chat(*turns: str, model: str = "llama2-7b") -> dict[str, Any]:
    roles = ("user", "assistant")
    messages = [{"role": roles[place % 2], "content": turn} for place, turn in enumerate(turns)]
    return {"model": model, "messages": messages, "max_tokens": 2}


def test_a_longer_conversation_finds_the_prefix_of_the_shorter(engine: EngineFactory) -> None:
    server = engine("--block-size", "4")
    first = server.ask("/v1/chat/completions", chat("to be, or not to be"))[1]
    assert (first["object"], first["choices"][0]["message"]["role"]) == ("chat.completion", "assistant")
    assert (first["usage"]["completion_tokens"], first["choices"][0]["finish_reason"]) == (2, "length")
    said = first["choices"][0]["message"]["content"]
    status, second = server.ask("/v1/chat/completions", chat("to be, or not to be", said, "that is"))
    assert status == 200
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] >= 12
    parts = {"role": "user", "content": [{"type": "text", "text": "to be, or not to be"}]}
    body = {**chat(), "messages": [parts]}
    same = server.ask("/v1/chat/completions", body)[1]
    assert same["usage"]["prompt_tokens"] == first["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("/v1/chat/completions", chat(), 400, "the body cannot be used"),
        ("/v1/chat/completions", chat("x", model="other"), 404, "does not exist"),
        ("/v1/chat/completions", {**chat("x"), "max_completion_tokens": 0}, 400, "max_tokens >= 1"),
        ("/v1/chat/completions", {**chat("x"), "stream": True}, 400, "streaming is not simulated"),
        ("/tokenize", {}, 400, "one of the two"),
        ("/tokenize", {"prompt": "x", "model": "other"}, 404, "does not exist"),
    ],
    ids=["no turn", "model", "no output", "stream", "nothing", "tokens of another model"],
)
def test_a_chat_that_cannot_be_served_gets_a_sentence(
    small_engine: Any, path: str, body: dict[str, Any], status: int, sentence: str
) -> None:
    answered, answer = small_engine.ask(path, body)
    assert answered == status
    assert sentence in answer["error"]["message"]


def test_tokenize_tells_the_tokens_a_completion_would_compute(engine: EngineFactory) -> None:
    server = engine()
    text = server.ask("/tokenize", {"prompt": "to be, or not to be"})[1]
    assert (text["count"], len(text["tokens"]), text["max_model_len"]) == (7, 7, 6400)
    assert server.complete(text["tokens"])["prompt_tokens"] == 7
    assert server.ask("/tokenize", {"model": "llama2-7b", "prompt": ""})[1]["tokens"] == []
    turns = server.ask("/tokenize", {"messages": chat("to be")["messages"]})[1]
    used = server.ask("/v1/chat/completions", chat("to be"))[1]["usage"]
    assert turns["count"] == used["prompt_tokens"]


def test_it_introduces_itself_as_vllm_does(engine: EngineFactory) -> None:
    server = engine(env={"POD_NAME": "engine-7"})
    assert server.ask("/health")[0] == 200
    assert "version" in server.ask("/version")[1]
    assert [model["id"] for model in server.ask("/v1/models")[1]["data"]] == ["llama2-7b"]
    source = server.ask("/kv_event_sources")[1]["0"]
    assert source["topic"] == "kv@e@m"
    assert re.fullmatch(r"tcp://\*:\d+", source["endpoint"])
    assert server.truth()["pod_key"] == "default/engine-7"


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({"model": "other", "prompt": [1]}, 404, "the model `other` does not exist"),
        ({"model": "llama2-7b", "prompt": []}, 400, "at least one token"),
        ({"model": "llama2-7b", "prompt": [-1]}, 400, "the body cannot be used"),
        ({"model": "llama2-7b"}, 400, "missing required field `prompt`"),
        ({"model": "llama2-7b", "prompt": [1], "stream": True}, 400, "streaming is not simulated"),
        ({"model": "llama2-7b", "prompt": [1], "max_tokens": 0}, 400, "max_tokens >= 1"),
        ({"model": "llama2-7b", "prompt": [1] * 300}, 400, "the KV cache holds 64"),
    ],
    ids=["model", "empty", "negative token", "no prompt", "stream", "no output", "too long"],
)
def test_what_cannot_be_served_gets_a_sentence(
    small_engine: Any, body: dict[str, Any], status: int, sentence: str
) -> None:
    answered, answer = small_engine.ask("/v1/completions", body)
    assert answered == status
    assert sentence in answer["error"]["message"]
    assert answer["error"]["code"] == status


def test_the_stream_starts_at_0_and_folds_into_what_the_pool_holds_at_every_sequence(
    engine: EngineFactory, listen: Listen
) -> None:
    server = engine("--blocks", "24")
    stream = listen(server)
    snapshots = {}
    for prompt in prompts(40):
        server.complete(prompt, max_tokens=20)
        snapshots[server.truth()["published_seq"]] = server.held()
    stream.until(max(snapshots))
    assert stream.seqs == list(range(max(snapshots) + 1))
    assert set(stream.topics) == {b"kv@e@m"}
    for seq, snapshot in snapshots.items():
        assert stream.folded(seq) == snapshot == server.held(seq)
    assert max(max(snapshot.values()) for snapshot in snapshots.values()) > 1, "no block was held twice"
    assert any(isinstance(event, BlockRemoved) for batch in stream.batches for event in batch.events)


def test_truth_is_right_at_every_sequence_while_requests_overlap(
    engine: EngineFactory, listen: Listen
) -> None:
    server = engine("--blocks", "48")
    stream = listen(server)
    with ThreadPoolExecutor(4) as callers:
        for usage in callers.map(lambda prompt: server.complete(prompt, max_tokens=18), prompts(60)):
            assert usage["completion_tokens"] == 18
    last = server.truth()["published_seq"]
    stream.until(last)
    assert all(stream.folded(seq) == server.held(seq) for seq in range(-1, last + 1) if seq >= 0)
    assert server.held(-1).total() == 0


def test_removals_carry_one_hash_and_come_before_the_store_that_needed_room(
    engine: EngineFactory, listen: Listen
) -> None:
    server = engine("--blocks", "4")
    stream = listen(server)
    server.complete(list(range(60)))
    server.complete(list(range(100, 160)))
    events = stream.until(1).batches[1].events
    assert [type(event) for event in events] == [BlockRemoved] * 3 + [BlockStored]
    assert [len(event.block_hashes) for event in events] == [1, 1, 1, 3]
    assert events[-1].parent_block_hash is None
    assert events[-1].token_ids == tuple(range(100, 148))


def test_blocks_filled_while_generating_are_announced_one_by_one(
    engine: EngineFactory, listen: Listen
) -> None:
    server = engine()
    stream = listen(server)
    server.complete(list(range(20)), max_tokens=30)
    batches = stream.until(2).batches
    assert [len(event.block_hashes) for batch in batches for event in batch.events] == [1, 1, 1]
    parents = [event.parent_block_hash for batch in batches for event in batch.events]
    hashes = [event.block_hashes[-1] for batch in batches for event in batch.events]
    assert parents == [None, *hashes[:-1]]


def test_what_truth_says_about_a_past_sequence(engine: EngineFactory) -> None:
    server = engine()
    server.complete(list(range(33)))
    server.complete(list(range(100, 149)))
    first, now = server.truth(0), server.truth()
    assert (first["seq"], first["published_seq"], now["seq"]) == (0, 1, 1)
    assert (first["changed_blocks"], now["changed_blocks"]) == (3, 0)
    assert (first["stored_total"], first["removed_total"]) == (5, 0)
    assert first["oldest_pending_s"] == pytest.approx(time.time(), abs=5)
    assert (now["oldest_pending_s"], server.truth(1)["oldest_pending_s"]) == (None, None)
    keys = {key: copies for _group, _hash, copies, key in first["blocks"]}
    assert keys == dict.fromkeys(prefix_keys(list(range(33)), 16), 1)
    assert {group for group, *_ in first["blocks"]} == {0}
    assert first["incarnation"] == now["incarnation"] != engine().truth()["incarnation"]


@pytest.mark.parametrize(
    ("query", "status", "sentence"),
    [("1", 409, "not published yet; the last is 0"), ("-2", 410, "forgotten"), ("x", 400, "a batch number")],
)
def test_a_sequence_that_cannot_be_answered_for(
    small_engine: Any, query: str, status: int, sentence: str
) -> None:
    answered, answer = small_engine.ask(f"/truth?seq={query}")
    assert answered == status
    assert sentence in answer["error"]["message"]


def test_match_tells_the_longest_held_prefix(engine: EngineFactory) -> None:
    server = engine()
    server.complete(list(range(64)))
    for prompt, tokens in ((range(64), 64), (range(40), 32), ([*range(16), 9, *range(17, 64)], 16), ([5], 0)):
        assert server.ask("/truth/match", {"prompt": list(prompt)}) == (200, {"cached_tokens": tokens})


def test_match_tells_what_has_been_held_for_a_while(engine: EngineFactory) -> None:
    server = engine()
    server.complete(list(range(64)))

    def held_for(seconds: float) -> Any:
        return server.ask("/truth/match", {"prompt": list(range(64)), "for_s": seconds})

    assert held_for(3600) == (200, {"cached_tokens": 0})
    wait_until(lambda: held_for(0.2) == (200, {"cached_tokens": 64}), what="0.2 s to pass", timeout_s=10)
    status, answer = held_for(-1)
    assert status == 400
    assert "for_s" in answer["error"]["message"]


def test_replay_gives_the_ring_from_the_start_asked_for(
    engine: EngineFactory, listen: Listen, replay: Callable[[Any, int], Any]
) -> None:
    server = engine(buffer_steps=3)
    stream = listen(server)
    for start in range(0, 500, 100):
        server.complete(list(range(start, start + 17)))
    stream.until(4)
    assert [seq for seq, _ in replay(server, 0)] == [2, 3, 4]
    assert replay(server, 3) == list(enumerate(stream.batches))[3:]
    assert replay(server, 5) == []


@pytest.mark.parametrize("wire_form", ["array", "map", "map-batch"])
@pytest.mark.parametrize("hash_form", ["int", "bytes"])
def test_every_published_form_folds_alike(
    engine: EngineFactory, listen: Listen, wire_form: str, hash_form: str
) -> None:
    server = engine("--wire-form", wire_form, "--hash-form", hash_form, "--blocks", "8")
    stream = listen(server)
    for prompt in prompts(6):
        server.complete(prompt)
    last = server.truth()["published_seq"]
    assert stream.until(last).folded() == server.held(last)


def test_hashes_are_the_same_in_every_engine_and_every_life(engine: EngineFactory) -> None:
    servers = [engine(), engine()]
    for server in servers:
        server.complete(list(range(48)))
    assert servers[0].held() == servers[1].held()


def test_a_reset_is_published_only_with_the_next_step(engine: EngineFactory, listen: Listen) -> None:
    server = engine(env={"VLLM_SERVER_DEV_MODE": "1"})
    stream = listen(server)
    server.complete(list(range(33)))
    assert server.ask("/reset_prefix_cache", {}) == (200, {"success": True})
    assert (server.held().total(), server.held(0).total()) == (0, 2)
    server.complete(list(range(33)))
    assert isinstance(stream.until(1).batches[1].events[0], AllBlocksCleared)
    assert stream.folded() == server.held(1)


def test_an_engine_without_events_serves_and_says_so(engine: EngineFactory) -> None:
    server = engine(enable_kv_cache_events=False)
    server.complete(list(range(33)))
    assert server.ask("/kv_event_sources") == (200, {})
    assert (server.truth()["published_seq"], server.held().total()) == (-1, 2)


def test_one_dropped_event_is_exactly_one_missing_block(engine: EngineFactory, listen: Listen) -> None:
    server = engine("--flaw", "drop-event:1")
    stream = listen(server)
    for start in range(0, 400, 100):
        server.complete(list(range(start, start + 40)), max_tokens=10)
    last = server.truth()["published_seq"]
    missing = server.held(last) - stream.until(last).folded()
    assert (missing.total(), stream.folded() - server.held(last)) == (1, {})


def test_a_silent_engine_keeps_changing_and_says_what_it_published(
    engine: EngineFactory, listen: Listen
) -> None:
    server = engine("--flaw", "silent:2")
    stream = listen(server)
    for start in range(0, 500, 100):
        server.complete(list(range(start, start + 33)))
    truth = server.truth(1)
    assert (truth["published_seq"], truth["changed_blocks"], truth["stored_total"]) == (1, 6, 10)
    assert stream.until(1).folded() == server.held(1)


def test_the_metrics_are_vllms_and_move_with_their_facts(engine: EngineFactory) -> None:
    server = engine()
    for _ in range(2):
        server.complete(list(range(40)), max_tokens=3)
    page = server.ask("/metrics")[1]

    def value(name: str) -> float:
        labels = 'engine="0",.*model_name="llama2-7b"'
        (found,) = re.findall(rf"^{name}{{{labels}}} (\S+)$", page, re.MULTILINE)
        return float(found)

    assert value("vllm:prefix_cache_queries_total") == 80
    assert value("vllm:prefix_cache_hits_total") == 32
    assert value("vllm:prompt_tokens_total") == 80
    assert value("vllm:generation_tokens_total") == 6
    assert value("vllm:request_success_total") == 2
    assert value("vllm:kv_cache_usage_perc") == value("vllm:num_requests_running") == 0
    assert value("vllm:prefix_cache_hits_created") == pytest.approx(time.time(), abs=60)
    assert re.search(r'^vllm:cache_config_info{block_size="16",.*num_gpu_blocks="400"', page, re.MULTILINE)


def test_requests_hold_their_blocks_while_they_run(engine: EngineFactory) -> None:
    server = engine("--decode-token-ms", "150")

    def page_while_it_runs() -> str:
        page = str(server.ask("/metrics")[1])
        return page if re.search(r"^vllm:num_requests_running.* 1\.0$", page, re.MULTILINE) else ""

    with ThreadPoolExecutor(1) as caller:
        running = caller.submit(server.complete, list(range(40)), 20)
        page = wait_until(page_while_it_runs, what="a running request", timeout_s=20)
        (usage,) = re.findall(r"^vllm:kv_cache_usage_perc.* (\S+)$", page, re.MULTILINE)
        assert float(usage) == pytest.approx(3 / 400, abs=2 / 400)
        assert running.result()["completion_tokens"] == 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_0_when_told_to_even_while_serving(
    engine: EngineFactory, number: signal.Signals
) -> None:
    # A stall can only add to it.
    took_s = [seconds_to_end(engine("--decode-token-ms", "1000"), number) for _ in range(2)]
    assert min(took_s) < STOP_S_MAX, took_s


def seconds_to_end(server: Any, number: signal.Signals) -> float:
    """How long an engine took to end by that signal while it served a request."""
    with ThreadPoolExecutor(1) as caller:
        abandoned = caller.submit(server.complete, list(range(40)), 60)
        wait_until(lambda: server.truth()["stored_total"], what="the request to run", timeout_s=20)
        began_s = time.monotonic()
        server.process.send_signal(number)
        assert server.process.wait(20) == 0
        took_s = time.monotonic() - began_s
        assert abandoned.exception() is not None
    assert "Traceback" not in server.log.read_text()
    return took_s


def run_to_its_end(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "resync.engine", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def test_a_wrong_argument_ends_it_with_2_and_one_sentence() -> None:
    ended = run_to_its_end("--blocks", "many")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(r"resync\.engine: .*'--blocks'.*many.*\n", ended.stderr)


def test_a_taken_port_ends_it_with_1_and_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments in (
            ("--http-port", str(port), "--kv-events-config", "{}"),
            (
                "--http-port",
                "0",
                "--kv-events-config",
                f'{{"enable_kv_cache_events": true, "endpoint": "tcp://*:{port}"}}',
            ),
        ):
            ended = run_to_its_end(*arguments)
            assert ended.returncode == 1
            assert re.fullmatch(r"resync\.engine\.process: cannot listen.*in use.*\n", ended.stderr)


def test_every_third_batch_tells_of_something_to_come_and_replays_it_alike(
    engine: EngineFactory, replay: Callable[[Any, int], list[tuple[int, Any]]]
) -> None:
    server = engine("--news-every", "3")
    for seed in range(5):
        server.complete([seed * 1000 + n for n in range(32)])
    told = [batch.unknown_events for _, batch in replay(server, 0)]
    assert told == [("BlockTouched",) if seq % 3 == 0 else () for seq in range(len(told))]
    assert len(told) >= 4
