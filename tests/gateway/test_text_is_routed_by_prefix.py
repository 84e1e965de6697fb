"""Prompts that come as text, and chats: an engine tells their tokens, and they go where their prefix is."""

import os
import signal
import urllib.error
import urllib.request
from typing import Any

import msgspec
import pytest

pytestmark = pytest.mark.integration

TEXT = " ".join(f"word{n}" for n in range(70))
TURNS = [{"role": "system", "content": TEXT}, {"role": "user", "content": "to be, or not to be"}]


@pytest.fixture
def gateway(fleet: Any) -> Any:
    """A gateway whose engines are all followed and reachable."""
    return fleet.gateway().wait_until_whole(engines=3)


def asked(front: Any, path: str, **body: Any) -> tuple[dict[str, str], int]:
    """Headers in lower case and cached tokens of one answer. Raises HTTPError when it is a refusal."""
    data = msgspec.json.encode({"model": "llama2-7b", "max_tokens": 1, **body})
    with urllib.request.urlopen(front.url + path, data=data, timeout=10) as answer:  # noqa: S310 - loopback
        said = msgspec.json.decode(answer.read())
        headers = {name.lower(): value for name, value in answer.headers.items()}
    return headers, said["usage"]["prompt_tokens_details"]["cached_tokens"]


def warm(gateway: Any, engine: Any, path: str, **body: Any) -> None:
    """Behind the gateway's back, until it has heard of it."""
    asked(engine, path, **body)
    gateway.wait_for(
        "the event",
        lambda page: page.value("resync_gateway_applied_sequence", pod_key=engine.pod_key) >= 0,
    )


def failures(gateway: Any) -> float:
    labels = {"model": "llama2-7b", "reason": "tokenize_failed", "using_kv_sync": "true"}
    return float(gateway.page().value("aibrix_prefix_cache_routing_errors_total", **labels))


def test_a_chat_goes_to_the_engine_that_has_its_earlier_turns(fleet: Any, gateway: Any) -> None:
    warm(gateway, fleet.engines[1], "/v1/chat/completions", messages=TURNS)
    longer = [
        *TURNS,
        {"role": "assistant", "content": "that is"},
        {"role": "user", "content": "the question"},
    ]
    headers, cached = asked(gateway, "/v1/chat/completions", messages=longer)
    assert (headers["target-pod"], headers["x-routing-selection"]) == ("engine-1", "prefix_match")
    assert cached >= 64


def test_text_and_its_tokens_are_one_prompt(fleet: Any, gateway: Any) -> None:
    warm(gateway, fleet.engines[2], "/v1/completions", prompt=TEXT)
    told = msgspec.json.decode(fleet.engines[0].post("/tokenize", msgspec.json.encode({"prompt": TEXT})))
    for prompt in (TEXT, told["tokens"]):
        headers, cached = asked(gateway, "/v1/completions", prompt=prompt)
        assert (headers["target-pod"], cached) == ("engine-2", 64)


def test_an_engine_that_hangs_does_not_keep_others_from_being_asked(fleet: Any, gateway: Any) -> None:
    warm(gateway, fleet.engines[2], "/v1/completions", prompt=TEXT)
    os.kill(fleet.engines[0].process.pid, signal.SIGSTOP)
    # Each takes its turn: of three in a row, one begins with the engine that hangs.
    for _ in range(3):
        headers, _cached = asked(gateway, "/v1/completions", prompt=TEXT)
        assert headers["target-pod"] == "engine-2"


def test_what_no_engine_will_tokenize_goes_by_load_and_is_counted(gateway: Any) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        asked(gateway, "/v1/chat/completions", messages="no list")
    assert refused.value.code == 400, "the engine says what is wrong with it"
    assert failures(gateway) == 1
    refused.value.close()


def test_a_gateway_without_the_remote_tokenizer_asks_nobody(
    fleet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIBRIX_PREFIX_CACHE_USE_REMOTE_TOKENIZER", "false")
    monkeypatch.setenv("AIBRIX_PREFIX_CACHE_KV_EVENT_SYNC_ENABLED", "false")
    gateway = fleet.gateway()
    gateway.wait_for("an engine", lambda _page: _answers(gateway))
    page = gateway.page()
    labels = {"model": "llama2-7b", "reason": "tokenize_failed", "using_kv_sync": "false"}
    assert page.value("aibrix_prefix_cache_routing_errors_total", **labels) == 1


def _answers(gateway: Any) -> bool:
    try:
        asked(gateway, "/v1/completions", prompt=TEXT)
    except urllib.error.HTTPError as refused:
        refused.close()
        return False
    return True
