"""Our control with one hook broken: BROKEN_HOOK names it, BROKEN_HOW says raises, signature or missing."""

import os

import madeworld  # type: ignore[import-not-found]  # beside this file, on the path of the subprocess
from madeworld import *  # noqa: F403

from resync.run import hooks

HOOK = os.environ["BROKEN_HOOK"]


def _raises(*_args: object, **_kwargs: object) -> None:
    raise RuntimeError("this hook is broken")


def _signature(nobody: object, passes: object, these: object) -> None:
    raise AssertionError((nobody, passes, these))


def _inside(*_args: object, **_kwargs: object) -> None:
    raise ZeroDivisionError("something inside the hook is broken")


_HOW = {"raises": _raises, "signature": _signature, "missing": None}
_INSIDE = {
    madeworld.courses: (
        "arm",
        "begin",
        "enter",
        "hypothesis_done",
        "heal_if_due",
        "activity_done",
        "wind_up",
    ),
    hooks: ("count",),
}
if os.environ["BROKEN_HOW"] == "inside":
    for module, names in _INSIDE.items():
        for name in names:
            if name in os.environ["BROKEN_INSIDE"].split(","):
                setattr(module, name, _inside)
else:
    globals()[HOOK] = _HOW[os.environ["BROKEN_HOW"]]
