"""What can go wrong with the link. Each message says whose mistake it is and what to do."""


class LinkError(Exception):
    """Base of everything here."""


class AddressInUseError(LinkError):
    """An address a pod advertises is already listened on by somebody else."""


class UnknownPodError(LinkError):
    """The link has no endpoints for this pod: it was never opened, or is closed again."""


class UnsupportedFaultError(LinkError):
    """No file in `faults/` understands this rule, so applying it would be a silent lie."""
