"""Two threads may read a record for the first time at the same moment: the process lives, both have it."""

import subprocess
import sys

import msgspec
import pytest

from resync.kits.reading import read_json, read_object

TRIES = 300

# What goes wrong here is a null pointer in C, so the threads are another process's. The records are nested,
# as those of a list of pods are: while the inner one is looked into, the outer one is already seen. Every try
# has records of its own, as a record is read for the first time only once.
TWO_THREADS = """
import sys, threading
import msgspec
from resync.kits.reading import read_json, read_object

sys.setswitchinterval(1e-6)
read, found = {"json": (read_json, b'{"items":[{"labels":{"a":"b"}}]}'),
               "object": (read_object, {"items": [{"labels": {"a": "b"}}]})}[sys.argv[1]]


def listed():
    pod = msgspec.defstruct("Pod", [("labels", dict[str, str] | None, None), ("name", str, "")])
    return msgspec.defstruct("Pods", [("items", list[pod]), ("version", str, "")])


for _ in range(int(sys.argv[2])):
    kind, got, gate = listed(), [], threading.Barrier(2)
    def reads():
        gate.wait()
        got.append(read(found, kind))
    threads = [threading.Thread(target=reads) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.items[0].labels for one in got] == [{"a": "b"}] * 2
"""


@pytest.mark.integration
@pytest.mark.parametrize("form", ["json", "object"])
def test_two_threads_read_a_record_for_the_first_time_at_the_same_moment(form: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWO_THREADS, form, str(TRIES)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


class Pod(msgspec.Struct, frozen=True):
    name: str


@pytest.mark.unit
def test_what_is_something_else_is_said_where_it_is() -> None:
    assert (
        read_json(b'{"name": "engine-0"}', Pod) == read_object({"name": "engine-0"}, Pod) == Pod("engine-0")
    )
    with pytest.raises(msgspec.ValidationError, match=r"\$\.name"):
        read_json(b'{"name": 1}', Pod)
    with pytest.raises(msgspec.ValidationError, match=r"\$\.name"):
        read_object({"name": 1}, Pod)
    with pytest.raises(msgspec.DecodeError):
        read_json(b"{", Pod)
