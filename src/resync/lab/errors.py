"""What the lab tells whoever asked for it. Every message is one sentence for a user."""


class LabError(Exception):
    """Base of what `resync lab` reports."""


class LabStartError(LabError):
    """The lab did not come up; what had been started is gone again."""


class LabRunningError(LabError):
    """There is a lab already, where one was to be started."""


class NoLabError(LabError):
    """No lab runs here."""


class StateError(LabError):
    """The state directory or what it holds is not usable."""
