"""One way to log for every process: readable in development, JSON elsewhere."""

from __future__ import annotations

import logging
import sys

import structlog

from backend.contract.settings import CommonSettings, Environment

_QUIET = (
    "uvicorn",
    "uvicorn.error",
    "rq.worker",
    "rq.job",
    "rq.registry",
    "rq.queue",
    "httpx",
    "httpcore",
    "PIL",
    "asyncio",
)
"""Libraries whose everyday messages say nothing that our own do not."""


def configure_logging(settings: CommonSettings) -> None:
    """Sends our events and the libraries' log records to standard error in one form."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(settings)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.value.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _renderers(settings: CommonSettings) -> list[structlog.types.Processor]:
    if settings.environment is Environment.DEVELOPMENT:
        return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
