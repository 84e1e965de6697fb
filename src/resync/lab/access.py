"""What a kubeconfig says: the server, who we are to it, and how it is to be believed."""

import base64
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True, slots=True)
class Access:
    """What the current context of a kubeconfig says about reaching its server."""

    server: str
    token: str | None
    cluster: Mapping[str, Any]
    user: Mapping[str, Any]


def read(kubeconfig: Path) -> Access:
    """The access of the current context. Raises OSError, KeyError, StopIteration, yaml.YAMLError."""
    config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
    context = _named(config["contexts"], config["current-context"])["context"]
    cluster = _named(config["clusters"], context["cluster"])["cluster"]
    user = _named(config.get("users") or [], context.get("user", "")).get("user") or {}
    return Access(cluster["server"], user.get("token"), cluster, user)


def _named(entries: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    return next((entry for entry in entries if entry["name"] == name), {})


def tls(access: Access, folder: Path) -> ssl.SSLContext | None:
    """How its server is to be believed; None for one without TLS. Raises OSError, ssl.SSLError."""
    if not access.server.startswith("https"):
        return None
    authority = _pem(access.cluster, "certificate-authority", folder)
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if access.cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if "client-certificate" in access.user:
        key = folder / access.user["client-key"]
        context.load_cert_chain(folder / access.user["client-certificate"], key)
    return context


def _pem(section: Mapping[str, Any], name: str, folder: Path) -> bytes | None:
    if f"{name}-data" in section:
        return base64.b64decode(section[f"{name}-data"])
    return (folder / section[name]).read_bytes() if name in section else None
