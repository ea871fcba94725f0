"""What every process of Vitrine reads from the environment: one frozen object, built in the entry point.

Each variable is the field's name in capitals behind ``VITRINE_``. Wrong values stop the process with all
errors at once, in words.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

LOCAL_REDIS_URL = "redis://127.0.0.1:6379/0"
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")


class Environment(StrEnum):
    """Where the process runs; outside development it logs JSON."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"
    TEST = "test"


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class SettingsError(Exception):
    """The environment holds wrong values; the message lists every one of them."""


class CommonSettings(BaseSettings):
    """Settings that the web process and the workers share."""

    model_config = SettingsConfigDict(
        env_prefix="VITRINE_",
        env_file=".env",
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
        protected_namespaces=(),
    )

    queue_redis_url: str = Field(
        default=LOCAL_REDIS_URL,
        description="Redis that holds jobs, states and events. Must not evict (maxmemory-policy noeviction). "
        "When it is not set, `vitrine up` starts a server of its own.",
    )
    cache_redis_url: str = Field(
        default="",
        description="Redis that holds pictures, maps and manifests; may evict. Default: the queue's Redis.",
    )
    data_dir: Path = Field(default=Path("var"), description="Folder for shares and the development Redis.")
    explainers_dir: Path | None = Field(
        default=None, description="Folder for trained explainers. Default: the folder explainers in VITRINE_DATA_DIR."
    )
    environment: Environment = Field(
        default=Environment.DEVELOPMENT,
        description="development, production or test; outside development logs are JSON.",
    )
    log_level: LogLevel = Field(default=LogLevel.INFO, description="debug, info, warning or error.")

    @field_validator("environment", "log_level", mode="before")
    @classmethod
    def _to_lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("queue_redis_url", "cache_redis_url")
    @classmethod
    def _validate_redis_url(cls, url: str) -> str:
        if url and not url.startswith(REDIS_SCHEMES):
            raise ValueError(f"a Redis address starts with {', '.join(REDIS_SCHEMES)}")
        return url

    @model_validator(mode="after")
    def _fill_cache_url(self) -> Self:
        if not self.cache_redis_url:
            # The object is frozen for its users; this is still its construction.
            self.__dict__["cache_redis_url"] = self.queue_redis_url
        return self

    @property
    def explainers_folder(self) -> Path:
        """Where trained explainers are."""
        return self.explainers_dir or self.data_dir / "explainers"

    @property
    def has_own_queue_url(self) -> bool:
        """Whether somebody chose the queue's address (else a development server may be started)."""
        return "queue_redis_url" in self.model_fields_set


S = TypeVar("S", bound=CommonSettings)


def read_settings(kind: type[S], **overrides: Any) -> S:
    """Returns the settings of a process from the environment, with some values given directly.

    Raises:
        SettingsError: With one line for every wrong value.
    """
    try:
        return kind(**overrides)
    except ValidationError as error:
        lines = [f"  VITRINE_{_name(item['loc'])}: {item['msg']} (is {item['input']!r})" for item in error.errors()]
        raise SettingsError("Some settings are wrong:\n" + "\n".join(lines)) from error


def _name(location: tuple[int | str, ...]) -> str:
    return "_".join(str(part) for part in location).upper()
