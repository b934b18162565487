"""The function's log, which is its stderr: hosts show its lines with the request's id."""

import sys
from typing import Any


def log(*values: Any) -> None:
    """Writes a line to the host's log, made of the values as `print` would."""
    print(*values, file=sys.stderr, flush=True)
