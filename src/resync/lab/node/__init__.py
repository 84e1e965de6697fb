"""The lab's node: pods as processes, and the daemon the mesh asks to change their network."""

from resync.lab.node.agent import run_node
from resync.lab.node.daemon import NodeDaemon
from resync.lab.node.processes import Processes

__all__ = ["NodeDaemon", "Processes", "run_node"]
