"""Where state is kept between commands: a lab writes there that it runs, a run looks there for one."""

import os
from collections.abc import Mapping
from pathlib import Path


def state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """`RESYNC_STATE_DIR`, else `resync` below XDG_STATE_HOME (default `~/.local/state`)."""
    if named := environ.get("RESYNC_STATE_DIR"):
        return Path(named).absolute()
    base = environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "resync"
