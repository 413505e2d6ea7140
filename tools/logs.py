"""Keeps known secrets out of log records: of the plane, and of the libraries that tools use."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

__all__ = ["LogFilter"]

_PLAIN = logging.Formatter()


class LogFilter(logging.Filter):
    """For `handler.addFilter`: cuts secrets out of messages, their arguments, and tracebacks."""

    def __init__(self, redact: Callable[[Any], Any]) -> None:
        super().__init__()
        self._redact = redact

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._redact(record.getMessage()), None
        if record.exc_info:
            record.exc_text = record.exc_text or _PLAIN.formatException(record.exc_info)
            record.exc_info = None
        if record.exc_text:
            record.exc_text = self._redact(record.exc_text)
        return True
