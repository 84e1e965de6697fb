"""The lab's node: pods as processes, and the daemon the mesh asks to change their network."""

from resync.lab.node.agent import run_node
from resync.lab.node.daemon import NodeDaemon

__all__ = ["NodeDaemon", "run_node"]
