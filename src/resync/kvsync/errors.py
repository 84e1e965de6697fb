"""What can go wrong in kvsync, by whose fault.

KVSyncError
├── WireError           the peer sent bytes that no known version publishes; nothing of them was applied
├── NoPodError          the caller asked for a choice among no pods
└── ConfigurationError  whoever set the environment: a variable makes no sense; nothing was started
"""


class KVSyncError(Exception):
    """Any refusal of this package."""


class WireError(KVSyncError):
    """Bytes from the peer that cannot be read; the message names the byte offset or the field."""


class NoPodError(KVSyncError):
    """There is no pod to choose from: nothing was routed; wait for one to become ready."""


class ConfigurationError(KVSyncError):
    """An environment variable that cannot be read; the message names it, and what it may say."""
