"""Where an experiment's manifests are.

A path, beside the experiments of a checkout, or inside the installed package.
"""

from importlib import resources
from pathlib import Path

from resync.run.errors import RefusedError

FOLDER = "chaos-mesh"


def candidates(manifest: str) -> list[Path]:
    """Where that manifest may be, in the order in which it is looked for."""
    package = Path(str(resources.files("resync")))
    return [
        Path(manifest),
        package / "data" / FOLDER / manifest,
        package.parents[1] / FOLDER / manifest,
    ]


def manifest_path(manifest: str) -> Path:
    """The manifest's file. Raises RefusedError when there is none."""
    for path in candidates(manifest):
        if path.is_file():
            return path
    raise RefusedError(
        f"there is no manifest {manifest!r}",
        next_step="name a file of chaos-mesh/, or a path from the working directory",
    )
