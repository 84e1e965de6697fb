"""Chaos Mesh's controller, as far as the lab executes its kinds: same objects, same states, same words."""

from resync.lab.mesh.controller import run_mesh

__all__ = ["run_mesh"]
