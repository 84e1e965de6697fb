"""How Prometheus is reached: what an installation may ask for, checked once, secrets kept out of messages."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import msgspec

from resync.kits.urls import is_loopback
from resync.metrics.errors import AccessError

TENANT_HEADER = "X-Scope-OrgID"


class PrometheusAccess(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how. `url` may carry a path prefix; a trailing slash is dropped.

    `timeout_s` bounds one attempt, `deadline_s` one question with its retries. `ca_file` is the authority to
    trust instead of the system's. Raises AccessError when the parts cannot be right together.
    """

    url: str
    headers: Mapping[str, str] = {}
    bearer_token: str | None = None
    username: str | None = None
    password: str | None = None
    tenant: str | None = None
    ca_file: Path | None = None
    timeout_s: float = 2.0
    deadline_s: float = 6.0

    def __post_init__(self) -> None:
        """Refuse what cannot work, before anything is asked."""
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise AccessError(
                f"{self.shown!r} is not the URL of a Prometheus: write it like http://host:9090"
            )
        if parts.username or parts.password:
            raise AccessError("credentials do not belong in the URL: give username and password, or a token")
        if parts.query or parts.fragment:
            raise AccessError(f"{self.shown!r} must be the base URL, without ? and #")
        if self.bearer_token and self.username:
            raise AccessError("a bearer token and a username exclude each other")
        if (self.username is None) != (self.password is None):
            raise AccessError("username and password belong together")
        if self.ca_file is not None and not self.ca_file.is_file():
            raise AccessError(f"there is no CA file at {self.ca_file}")
        if not 0 < self.timeout_s <= self.deadline_s:
            raise AccessError(
                f"timeout {self.timeout_s:g} s must be above 0 and within {self.deadline_s:g} s"
            )

    @property
    def base(self) -> str:
        """The URL without its trailing slash."""
        return self.url.rstrip("/")

    @property
    def shown(self) -> str:
        """The URL as messages may show it: without credentials."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rsplit("@", 1)[-1]))

    @property
    def loopback(self) -> bool:
        """Whether the host is this machine: then no proxy of the environment may stand in between."""
        return is_loopback(self.url)

    @property
    def sent_headers(self) -> dict[str, str]:
        """The headers of every request, the tenant's included."""
        return {**self.headers, **({TENANT_HEADER: self.tenant} if self.tenant else {})}

    def __repr__(self) -> str:
        """Without headers, tokens or passwords: this ends up in logs and evidence."""
        return f"PrometheusAccess(url={self.shown!r})"
