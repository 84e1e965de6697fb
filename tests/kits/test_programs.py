"""How a program of ours ends: told to, by its own error, and without looking at what it leaves behind."""

import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration

HEAD = "import asyncio, gc; from resync.kits import programs\n"
WAITING = f"""{HEAD}
async def work():
    try:
        print("begun", flush=True)
        await asyncio.Event().wait()
    finally:
        print("let go", flush=True)
programs.run(programs.until_told(work()))
print("over", gc.get_freeze_count() > 0)
"""
BROKEN = f"""{HEAD}
async def work():
    raise OSError("no such thing")
programs.run(programs.until_told(work()))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_is_told_lets_go_and_ends_with_0(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "begun\n"
        program.send_signal(number)
        try:
            rest, _ = program.communicate(timeout=20)
        finally:
            program.kill()  # leaving waits for it, and one that was not told would never end
    assert (rest, program.returncode) == ("let go\nover True\n", 0)


def test_an_error_is_raised_as_it_is() -> None:
    program = subprocess.run(
        [sys.executable, "-c", BROKEN], capture_output=True, text=True, timeout=20, check=False
    )
    assert program.returncode == 1
    assert program.stderr.splitlines()[-1] == "OSError: no such thing"
