"""How ZeroMQ wants TCP addresses written."""


def speaks_ipv6(host: str) -> bool:
    """Whether `host` is an IPv6 literal."""
    return ":" in host


def endpoint(host: str, port: int | str, local_address: str | None = None) -> str:
    """`tcp://host:port`, from `local_address` (any port of it) when one is given."""
    source = f"{_bracketed(local_address)}:0;" if local_address else ""
    return f"tcp://{source}{_bracketed(host)}:{port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if speaks_ipv6(host) else host
