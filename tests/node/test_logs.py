"""What a container said, asked through the API as kubectl asks."""

import asyncio
import io
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from resync.lab.api.process import ApiProcess
from resync.lab.node.errors import NoLogError
from resync.lab.node.logs import PodLog, tail_start

LINES = st.lists(st.binary(max_size=9).filter(lambda line: b"\n" not in line), max_size=12)


@given(before=st.binary(max_size=9), lines=LINES, ended=st.booleans(), count=st.integers(0, 14))
def test_a_tail_is_the_last_lines_and_never_reaches_before_its_life(
    before: bytes, lines: list[bytes], count: int, *, ended: bool
) -> None:
    said = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    *whole, last = said.split(b"\n")
    expected = [line + b"\n" for line in whole] + ([last] if last else [])
    start = tail_start(io.BytesIO(before + said), len(before), len(before + said), count)
    assert (before + said)[start:] == b"".join(expected[max(len(expected) - count, 0) :])


def test_each_life_ends_where_the_next_begins(tmp_path: Path) -> None:
    log = PodLog(tmp_path / "pod.log")
    with pytest.raises(NoLogError, match=r"^container"):
        log.life(previous=False)
    log.begin()
    log.path.write_text("one\n")
    with pytest.raises(NoLogError, match="previous terminated container"):
        log.life(previous=True)
    first = log.life(previous=False)
    assert (first.goes_on, first.start, first.end) == (True, 0, 4)
    log.finish()
    log.begin()
    log.path.write_text("one\ntwo\n")
    assert (first.goes_on, first.end) == (False, 4)
    assert log.life(previous=True) == first
    assert (log.life(previous=False).start, log.life(previous=False).end) == (4, 8)


TALKER = """
import os, pathlib
life = pathlib.Path(os.environ["MARK"])
number = int(life.read_text()) if life.exists() else 1
life.write_text(str(number + 1))
for line in range(5):
    print("life", number, "line", line, flush=True)
if number == 1:
    os.mkfifo(life.with_suffix(".go"))
    raise SystemExit("enough")
life.with_suffix(".go").read_text()
print("the end", flush=True)
"""


class Asking:
    """A client of the log subresource."""

    def __init__(self, api: ApiProcess) -> None:
        access = yaml.safe_load(api.kubeconfig.read_text())
        token = access["users"][0]["user"]["token"]
        self.session = aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"})
        self._pods = f"{api.server}/api/v1/namespaces/default/pods"

    async def log(self, pod: str, **query: str) -> tuple[int, Any]:
        """Status, and text or the message of a refusal."""
        async with self.session.get(f"{self._pods}/{pod}/log", params=query) as answer:
            if answer.status == 200:
                return answer.status, (await answer.text()).splitlines()
            return answer.status, (await answer.json())["message"]


@pytest.mark.integration
def test_a_log_is_asked_whole_by_its_tail_before_its_restart_and_to_its_end(
    rig: Any, api: ApiProcess, tmp_path: Path
) -> None:
    mark = tmp_path / "lives"

    async def scenario() -> None:
        async with rig.machine(api, tmp_path, octet=211) as machine, asyncio.timeout(30):
            asking = Asking(api)
            async with asking.session:
                code = TALKER.replace('os.environ["MARK"]', repr(str(mark)))
                await machine.create("talker", code, probe=False, restartPolicy="OnFailure")
                assert await asking.log("nobody") == (404, 'pods "nobody" not found')
                await machine.until("talker", in_second_life, what="in its second life")
                following = asyncio.create_task(asking.log("talker", follow="true", tailLines="1"))
                first = [f"life 1 line {number}" for number in range(5)]
                second = [f"life 2 line {number}" for number in range(5)]
                assert await asking.log("talker", previous="true") == (200, [*first, "enough"])
                while (await asking.log("talker"))[1] != second:
                    assert (await asking.log("talker"))[0] == 200
                assert await asking.log("talker", tailLines="2", container="main") == (200, second[3:])
                assert await asking.log("talker", limitBytes="6") == (200, ["life 2"])
                assert (await asking.log("talker", container="other"))[0] == 400
                refused = await asking.log("talker", timestamps="true")
                assert refused == (400, "timestamps: the lab's node writes no times into a log; leave it out")
                assert not following.done()
                mark.with_suffix(".go").write_text("go on")
                status, lines = await following
                assert (status, lines[-1]) == (200, "the end")
                await machine.create("silent", "import signal; signal.pause()", probe=False)
                await machine.until_ready("silent")
                missing = 'previous terminated container "main" in pod "silent" not found'
                assert await asking.log("silent", previous="true") == (400, missing)

    asyncio.run(scenario())


def in_second_life(pod: Any) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses") or [{}]
    return statuses[0].get("restartCount") == 1 and "running" in statuses[0]["state"]


@pytest.mark.integration
def test_a_log_of_a_node_that_does_not_answer_is_an_error_that_says_so(
    rig: Any, api: ApiProcess, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with rig.machine(api, tmp_path, octet=213) as machine:
            await machine.create("main", probe=False)
            await machine.until_ready("main")
        asking = Asking(api)
        async with asking.session:
            status, message = await asking.log("main")
            assert status == 500
            assert "the node does not answer" in message

    asyncio.run(scenario())
