"""A kubeconfig for the lab: one cluster, one user, one context, readable by its owner only."""

import os
import secrets
from pathlib import Path

import yaml

NAME = "resync-lab"
_OWNER_ONLY = 0o600


def write_kubeconfig(path: Path, server: str, namespace: str, *, token: str = "") -> None:
    """Write `path` (mode 0600, whole or not at all) for the API at `server` (a URL). Raises OSError.

    The token is there twice, as the user's bearer token and in the server's URL: kubectl does not send the
    first over plain HTTP, and clients that join paths their own way drop the second. Either one is enough.
    """
    if token:
        server = f"{server.rstrip('/')}/{token}/"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NAME, "cluster": {"server": server}}],
        "users": [{"name": NAME, "user": {"token": token} if token else {}}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME, "namespace": namespace}}],
        "current-context": NAME,
    }
    write_private(path, yaml.safe_dump(config, sort_keys=False))


def make_token() -> str:
    """A new random token: the loopback port is open to every user of the machine, the API is not."""
    return secrets.token_urlsafe(32)


def write_private(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner only from the first byte on. Raises OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
    draft.replace(path)
