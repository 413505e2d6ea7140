"""Names of parametrised tests that are the same in every process: parallel runs compare them."""

from __future__ import annotations

import re


def named(value: object) -> str:
    """The repr of a value, without addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
