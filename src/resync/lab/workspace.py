"""The files of one lab, below its state directory.

They are wiped at a start and not at the end: the logs of a lab that failed are what one wants to read
afterwards.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where each part of a lab keeps its files."""

    root: Path

    @classmethod
    def fresh(cls, directory: Path) -> Self:
        """An empty one, in place of what the last lab here left."""
        root = directory / "lab"
        shutil.rmtree(root, ignore_errors=True)
        workspace = cls(root)
        workspace.logs.mkdir(parents=True)
        return workspace

    @property
    def kubeconfig(self) -> Path:
        """How clients reach the lab's Kubernetes API."""
        return self.root / "kubeconfig"

    @property
    def logs(self) -> Path:
        """What processes of the lab say, one file each."""
        return self.root / "logs"

    @property
    def prometheus(self) -> Path:
        """Configuration, data and log of Prometheus."""
        return self.root / "prometheus"

    def discard_data(self) -> None:
        """Let go of what grows and nobody reads later."""
        shutil.rmtree(self.prometheus / "data", ignore_errors=True)
