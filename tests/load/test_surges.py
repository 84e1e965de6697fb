"""A surge: more load for a while, that ends by itself whatever becomes of whoever asked for it."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from resync.kits.waits import wait_until

pytestmark = pytest.mark.integration

Start = Callable[..., Any]
SURGE = {"run": "r1", "rate": 150, "prefix_share": 0.5, "for_s": 2.0}


def ask(load: Any, method: str, body: object = None) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{load.url}/surge", method=method, data=None if body is None else json.dumps(body).encode()
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture
def load(start: Start, gateway: Any) -> Any:
    gateway.behaviour = '{"usage": {"prompt_tokens": 1}}'
    return start("load", "--gateway", gateway.url, "--rate", "10")


def sent_in_a_surge(load: Any) -> float:
    """What is sent until it has ended by itself."""
    before = load.value("resync_load_sent_total")
    status, standing = ask(load, "PUT", SURGE)
    assert status == 201
    assert standing["ends_s"] - standing["began_s"] == pytest.approx(2.0)
    assert load.value("resync_load_asked_rate") == 160
    wait_until(lambda: ask(load, "GET")[0] == 404, what="the surge to end", timeout_s=15.0)
    assert load.value("resync_load_asked_rate") == 10
    return float(load.value("resync_load_sent_total") - before)


def test_a_surge_adds_its_rate_and_ends_by_itself(load: Any) -> None:
    """What a busy machine does not get sent in time is not sent: the best of three tells."""
    load.wait_for("resync_load_sent_total", 1)
    sent: list[float] = []
    while len(sent) < 3 and max(sent, default=0) < 0.8 * 300:
        sent.append(sent_in_a_surge(load))
    assert 0.8 * 300 <= max(sent) <= 1.3 * 320


def test_a_second_surge_is_refused_by_name_and_the_first_goes_on(load: Any) -> None:
    ask(load, "PUT", {**SURGE, "for_s": 60})
    status, said = ask(load, "PUT", {**SURGE, "run": "r2"})
    assert status == 409
    assert said["error"] == "the surge of run r1 is under way: nothing was begun"
    assert ask(load, "GET")[1]["asked"]["run"] == "r1"


def test_taking_it_back_ends_it_at_once_and_may_be_repeated(load: Any) -> None:
    ask(load, "PUT", {**SURGE, "for_s": 60})
    assert [ask(load, "DELETE")[0] for _ in range(2)] == [200, 200]
    assert ask(load, "GET")[0] == 404
    assert load.value("resync_load_asked_rate") == 10
    assert ask(load, "PUT", SURGE)[0] == 201


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"rate": 0}, "rate: 0 is not above 0"),
        ({"for_s": 0}, "for_s: 0 is not above 0"),
        ({"prefix_share": 1.5}, "not between 0 and 1"),
        ({"rate": "many"}, "Expected `float`"),
    ],
)
def test_what_is_no_load_is_refused(load: Any, wrong: dict[str, Any], says: str) -> None:
    status, said = ask(load, "PUT", {**SURGE, **wrong})
    assert status == 400
    assert says in said["error"]
    assert ask(load, "GET")[0] == 404


def test_a_load_in_a_surge_ends_when_told(load: Any) -> None:
    ask(load, "PUT", {**SURGE, "for_s": 60})
    load.process.terminate()
    assert load.process.wait(20) == 0
