"""What can go wrong on the lab's node. Each message says whose fault it is and what to do."""


class NodeError(Exception):
    """Base of everything here."""


class NoAddressError(NodeError):
    """The pod's address is taken, not of this lab, or there is none left."""


class PodSpecError(NodeError):
    """The pod asks for something this node does not do; the pod's author must change it."""


class DaemonError(NodeError):
    """The node could not bring a pod's network into the asked state; nothing of it was applied."""


class NoSuchPodError(DaemonError):
    """The daemon was asked about a pod that does not run here."""


class NoLogError(NodeError):
    """No container that was asked about has said anything here."""
