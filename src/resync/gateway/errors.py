"""What can go wrong in the gateway, and whose fault it is.

GatewayError
 |- BadSettingError        whoever started the process: a wrong flag or variable; nothing was started
 |- BadRequestError        the client: the request cannot be read; nothing was sent to an engine
 |- NoSuchModelError       the client: no engine serves that model; nothing was sent
 |- NoEngineError          the fleet: no engine can take the request now; nothing was sent, ask again later
 +- EngineLostError        the engine: it went away after the request was sent; perhaps it was carried out
"""


class GatewayError(Exception):
    """Anything the gateway says in one sentence to whoever asked."""


class BadSettingError(GatewayError):
    """A flag or an environment variable makes no sense; nothing was started."""


class BadRequestError(GatewayError):
    """The request cannot be read; no engine was asked."""


class NoSuchModelError(GatewayError):
    """Engines are there and none serves that model; no engine was asked."""


class NoEngineError(GatewayError):
    """No engine is ready to take the request; no engine was asked."""


class EngineLostError(GatewayError):
    """The engine went away after the request was sent: it may or may not have been carried out."""
