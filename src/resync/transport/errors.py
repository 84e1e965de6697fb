"""What can go wrong in transport, by whose fault.

TransportError ├── AlreadyRunningError   one subscription was started twice: the second start did nothing (a
bug of the caller) └── NotBoundError         a publication was used before `bind` or after `close` (a bug of
the caller)
"""


class TransportError(Exception):
    """Any refusal of this package. Addresses that cannot be used are ZeroMQ's own `zmq.ZMQError`."""


class AlreadyRunningError(TransportError):
    """The subscription runs already; a second connection would see every batch twice. Nothing was changed."""


class NotBoundError(TransportError):
    """There is no open socket; nothing was sent."""
