"""Selectors written with the escaping that PromQL asks for.

Label values are data; interpolated unescaped they would select other series, or none (prometheus-api-client
quotes with `'` and does not escape).
"""

import re

from resync.metrics.errors import AccessError

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def selector(name: str, **labels: str) -> str:
    """`name{label="value",...}`, values escaped, labels in order of their names.

    Raises AccessError for a name that no metric or label can have.
    """
    if not _METRIC.fullmatch(name):
        raise AccessError(f"{name!r} is not a metric name")
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise AccessError(f"{label!r} is not a label name")
    inner = ",".join(f'{label}="{labels[label].translate(_ESCAPES)}"' for label in sorted(labels))
    return f"{name}{{{inner}}}" if inner else name
