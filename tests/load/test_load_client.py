"""How a request can end, in words."""

import asyncio
import socket
from typing import Any

import pytest

from resync.load.client import SETTLED_S, Answer, Client

pytestmark = pytest.mark.integration

GOOD = '{"usage": {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 5}}}'


def ask(url: str, *, timeout_s: float = 5.0) -> tuple[Answer, int | None]:
    async def both() -> tuple[Answer, int | None]:
        client = Client(model="m", max_tokens=1, host="127.0.0.1", timeout_s=timeout_s, connections_max=4)
        try:
            return await client.complete(url, [1]), await client.held_tokens([url], [1])
        finally:
            await client.close()

    return asyncio.run(both())


@pytest.mark.parametrize(
    ("behaviour", "answer"),
    [
        (GOOD, Answer("200", 5)),
        ("refuse", Answer("503")),
        ("hang", Answer("timeout")),
        ("{}", Answer("unreadable")),
        ("not json", Answer("unreadable")),
    ],
)
def test_an_answer_is_a_status_or_a_word(gateway: Any, behaviour: str, answer: Answer) -> None:
    gateway.behaviour = behaviour
    assert ask(gateway.url, timeout_s=0.3 if behaviour == "hang" else 5.0)[0] == answer


def test_nobody_there_is_unreachable_and_held_is_unknown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closing:
        url = "http://{}:{}".format(*closing.getsockname())
    assert ask(url) == (Answer("unreachable"), None)


def test_what_is_held_is_the_best_of_the_engines_and_unknown_when_one_is_mute(gateway: Any) -> None:
    gateway.behaviour = '{"cached_tokens": 32}'
    assert ask(gateway.url)[1] == 32
    assert gateway.body == {"prompt": [1], "for_s": SETTLED_S}
    gateway.behaviour = "refuse"
    assert ask(gateway.url)[1] is None
