"""What can go wrong in kvsync, by whose fault.

KVSyncError
├── WireError      the peer sent bytes that are not what was published by any known version; nothing was applied
├── NoPodError     the caller asked for a choice among no pods
└── UsageError     the caller broke a rule of this package (a bug on our side)
"""


class KVSyncError(Exception):
    """Any refusal of this package."""


class WireError(KVSyncError):
    """Bytes from the peer that cannot be read; the message names the byte offset or the field."""


class NoPodError(KVSyncError):
    """There is no pod to choose from: nothing was routed; wait for one to become ready."""


class UsageError(KVSyncError):
    """A rule of this package was broken by its caller. This is a bug on the calling side."""
