"""What can go wrong in the load, and whose fault it is.

LoadError
 +-- OptionsError   the command line is wrong; nothing was sent
"""


class LoadError(Exception):
    """Root of everything this package raises on purpose."""


class OptionsError(LoadError):
    """The command line cannot be used; the message is one sentence for its author."""
