"""The second pair of eyes.

Chaos Toolkit's event handlers, which see what hooks do not (settings, every activity).
"""

from collections.abc import Mapping
from typing import Any

from chaoslib.run import RunEventHandler

from resync.run import courses, hooks

Json = Mapping[str, Any]


class Watcher(RunEventHandler):  # type: ignore[misc]  # chaoslib ships no types mypy follows here
    """Tells the course of the run what Chaos Toolkit does around the hooks."""

    def running(  # noqa: PLR0917 - the foreign signature
        self,
        experiment: Json,  # noqa: ARG002 - the foreign signature's choice
        journal: Json,  # noqa: ARG002
        configuration: Json,  # noqa: ARG002
        secrets: Json,  # noqa: ARG002
        schedule: object,  # noqa: ARG002
        settings: Json | None,
    ) -> None:
        """The only place where the effective strategies are visible."""
        courses.runtime_seen((settings or {}).get("runtime", {}))

    def activity_completed(self, activity: Json, run: Json) -> None:  # noqa: ARG002
        """Count activities independently of the control's own hooks."""
        hooks.count("completed")
