"""What can go wrong in an engine, and whose fault it is.

EngineError
 +-- OptionsError          the command line is wrong; nothing was started
 +-- RequestRefusedError   the caller's request cannot be served as asked (`status` says how HTTP puts it)
 +-- PoolExhaustedError    no free slot now; nothing was changed, try after a release
 +-- JournalTooShortError  the past asked for is no longer known
 +-- SequenceAheadError    the sequence asked for has not been published yet
"""


class EngineError(Exception):
    """Root of everything this package raises on purpose."""


class OptionsError(EngineError):
    """The command line cannot be used; the message is one sentence for its author."""


class RequestRefusedError(EngineError):
    """The request was not started; `status` is the HTTP status that says why."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class PoolExhaustedError(EngineError):
    """Fewer free slots than wanted; the pool is unchanged."""


class JournalTooShortError(EngineError):
    """The journal no longer reaches back to the position asked for."""


class SequenceAheadError(EngineError):
    """The sequence asked for lies ahead of the stream."""
