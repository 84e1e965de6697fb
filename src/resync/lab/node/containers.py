"""A container is a process in a session of its own, tied to the node's life.

What it is told: `POD_IP POD_BIND_IP POD_NAME POD_NAMESPACE` and the spec's own `env` (docs/interfaces.md
section 1), on top of the few variables of this process a program needs to run at all. What it says goes to
one log file per pod.

Why `preexec_fn` and no wrapper program: the child only calls prctl and getppid between fork and exec, and a
wrapper would cost an interpreter start per container.

Images mean nothing here but two: vLLM's, see `images`, and `pause`, of whatever registry and version, which
holds a program that does nothing and nothing else. So a container with a command of its own does not start on
it, as on a real node, and one that relies on its image's command sleeps.
"""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from resync.lab import children
from resync.lab.node import images
from resync.lab.node.allocation import Pair
from resync.lab.node.errors import PodSpecError
from resync.lab.node.objects import Pod

INHERITED: Final = frozenset(
    {"HOME", "LANG", "LC_ALL", "LOGNAME", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV", "COVERAGE_PROCESS_START"}
)
START_ERROR: Final = 128
"""The exit code the container runtimes give to what could not be started."""
_SIGNAL_BASE: Final = 128
_PAUSE: Final = ("sh", "-c", "trap 'exit 0' INT TERM; sleep infinity & wait")


def check(pod: Pod) -> None:
    """Raises PodSpecError for what this node does not do."""
    if len(pod.spec.containers) != 1:
        raise PodSpecError(
            f"pod {pod.key} has {len(pod.spec.containers)} containers; the lab's node runs one"
        )
    if not images.command_of(pod.container):
        raise PodSpecError(f"pod {pod.key} has no command; the lab's node runs processes, not images")
    odd = [variable.name for variable in pod.container.env if variable.value_from is not None]
    if odd:
        raise PodSpecError(
            f"pod {pod.key}: the lab's node knows plain values, not valueFrom, in {', '.join(odd)}"
        )


def environment(pod: Pod, addresses: Pair, outer: Mapping[str, str]) -> dict[str, str]:
    """What the process finds in its environment; `outer` is the node's own."""
    kept = {name: value for name, value in outer.items() if name in INHERITED or name.startswith("RESYNC_")}
    path = os.pathsep.join(filter(None, (str(Path(sys.executable).parent), outer.get("PATH"))))
    told = {
        "POD_IP": addresses.pod_ip,
        "POD_BIND_IP": addresses.bind_ip,
        "POD_NAME": pod.metadata.name,
        "POD_NAMESPACE": pod.metadata.namespace,
    }
    own = {variable.name: variable.value for variable in pod.container.env}
    return {**kept, "PATH": path, "PYTHONUNBUFFERED": "1", **told, **own}


def program(pod: Pod) -> tuple[str, ...]:
    """What the container runs. Raises FileNotFoundError for a command its image does not have."""
    container = pod.container
    if container.image.rpartition("/")[2].partition(":")[0] != "pause":
        return images.command_of(container)
    if container.command:
        raise FileNotFoundError(
            errno.ENOENT,
            "executable file not found in the image",
            f"{container.image}: {container.command[0]}",
        )
    return _PAUSE


def start(pod: Pod, env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """The container's process, leader of its own session. Raises OSError when there is no such program.

    Call it on the main thread: the kernel ties the child to the thread that starts it.
    """
    return children.launch_apart(program(pod), log, env=env, cwd=pod.container.working_dir or "/")


def send(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal the whole process group, whoever of it is left."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def exit_code_of(returncode: int) -> int:
    """Kubelet's exit code: 128 + n for a process that ended by signal n."""
    return returncode if returncode >= 0 else _SIGNAL_BASE - returncode
