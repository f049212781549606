"""Structured logs of the server: JSON for machines, coloured lines for people.

Nothing here or elsewhere logs bodies, environments, headers or query strings: they may carry
credentials. What looks secret in what is logged, such as in messages of libraries, is hidden.
"""

import logging
import sys
from collections.abc import Callable
from typing import Any, Final, TextIO

import structlog

from taskyard.core.access.redaction import redact_text, redact_tree

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_QUIET: Final = {
    "httpx2": logging.WARNING,
    "uvicorn.error": logging.WARNING,
    "uvicorn.access": logging.WARNING,
}
"""Others' loggers that say at ``info`` what only matters to their authors."""

Processor = Callable[[Any, str, Any], Any]
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    # Local variables hold requests and settings: credentials among them.
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def configure_logging(form: str, level: str, stream: TextIO | None = None) -> None:
    """Set up logging for the whole process, ours and that of libraries.

    Args:
        form: ``json``, ``console``, or ``auto`` (``console`` on a terminal).
        level: ``debug``, ``info``, ``warning`` or ``error``.
        stream: where to; standard error when None.
    """
    stream = stream or sys.stderr
    pretty = form == "console" or (form == "auto" and stream.isatty())
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
            _redact_line,
        ]
        if pretty
        else [_TRACEBACKS, _redact_members, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*before, *last],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(least, LEVELS[level]))


def _redact_members(_logger: object, _method: str, event: Any) -> Any:
    """Before they are rendered: in JSON a mask must not take quotes along."""
    return redact_tree(dict(event))


def _redact_line(_logger: object, _method: str, line: Any) -> Any:
    return redact_text(line) if isinstance(line, str) else line
