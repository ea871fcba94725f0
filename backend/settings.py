"""What the web process reads from the environment."""

from __future__ import annotations

from pydantic import Field, field_validator

from backend.contract.settings import CommonSettings

MEGABYTE = 1_000_000


class WebSettings(CommonSettings):
    """Settings of the process that serves the API and the page."""

    host: str = Field(default="127.0.0.1", description="Address that the web process listens on.")
    port: int = Field(default=8050, ge=1, le=65_535, description="Port that the web process listens on.")
    public_url: str = Field(
        default="",
        description="Address under which people reach Vitrine, for links that are sent to others "
        "(https://vitrine.example.org). Default: the address of the request.",
    )
    max_upload_bytes: int = Field(
        default=20 * MEGABYTE, ge=100_000, le=500 * MEGABYTE, description="Largest picture file, in bytes."
    )
    max_pixels: int = Field(
        default=50_000_000,
        ge=65_536,
        le=89_000_000,
        description="Largest picture, in pixels (width x height).",
    )
    max_archive_bytes: int = Field(
        default=2_000 * MEGABYTE, ge=100_000, le=100_000 * MEGABYTE, description="Largest zip of pictures, in bytes."
    )
    max_dataset_bytes: int = Field(
        default=8_000 * MEGABYTE, ge=100_000, description="Largest unpacked data set, in bytes."
    )
    max_dataset_pictures: int = Field(default=100_000, ge=2, description="Most pictures of an uploaded data set.")
    max_waiting_runs: int = Field(
        default=1000, ge=1, description="Runs that may wait in the queue; more are refused until some are done."
    )
    local_dir_models: bool = Field(
        default=True,
        description="Whether visitors may name a directory of the worker's machine as a model (local-dir:<path>). "
        "Turn off where strangers visit.",
    )
    share_days: int = Field(default=365, ge=1, le=36_500, description="Life of a share when nobody chose one, in days.")
    max_share_days: int = Field(default=3650, ge=1, le=36_500, description="Longest life of a share, in days.")
    max_share_bytes: int = Field(
        default=200 * MEGABYTE, ge=MEGABYTE, description="Largest share, in bytes of pictures and maps."
    )
    queue_connections: int = Field(
        default=8, ge=2, le=100, description="Most connections that the web process opens to the queue's Redis."
    )
    cache_connections: int = Field(
        default=8, ge=2, le=100, description="Most connections that the web process opens to the cache's Redis."
    )
    shutdown_grace_s: int = Field(
        default=3, ge=1, le=60, description="Seconds that open requests and event streams get when the server stops."
    )

    @field_validator("public_url")
    @classmethod
    def _validate_public_url(cls, url: str) -> str:
        if url and not url.startswith(("http://", "https://")):
            raise ValueError("an address starts with http:// or https://")
        return url.rstrip("/")
