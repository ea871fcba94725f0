"""What owners of shares send and get."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from backend.contract.keys import canonical_json
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Contract
from backend.contract.schemas import Sha256
from backend.services import Services
from backend.shares import MOST_RUNS, Share

LOOKS_BYTES = 20_000
RunKeyField = Annotated[str, Field(pattern=Sha256)]


class NewShare(Contract):
    """Asks to pin finished runs."""

    title: str = Field(default="", max_length=200)
    runs: tuple[RunKeyField, ...] = Field(min_length=1, max_length=MOST_RUNS)
    looks: dict[str, Any] = Field(default_factory=dict, description="How the page shows them; kept as it is.")
    expires_days: int | None = Field(
        default=None, ge=1, description="Life in days; the server's default when left out."
    )


class ShareChange(Contract):
    """What to change; what is left out stays."""

    title: str | None = Field(default=None, max_length=200)
    looks: dict[str, Any] | None = None
    expires_days: int | None = Field(default=None, ge=1, description="New life in days, counted from now.")


class ShareMade(Contract):
    """The link, and the secret that only the owner learns and only now."""

    id: str
    url: str
    owner_token: str
    title: str
    created: float
    expires: float | None


def make_share(services: Services, body: NewShare, base_url: str) -> ShareMade:
    """Returns the link of a new share.

    Args:
        services: Of this process.
        body: What to pin.
        base_url: Address of the request, used when no public address is configured.
    """
    days = _checked_days(services, body.expires_days) or services.settings.share_days
    _validate_looks(body.looks)
    share, token = services.shares.create(_one_line(body.title), body.runs, looks=body.looks, days=days)
    base = services.settings.public_url or base_url.rstrip("/")
    return ShareMade(
        id=share.id,
        url=f"{base}/s/{share.id}",
        owner_token=token,
        title=share.title,
        created=share.created,
        expires=share.expires,
    )


def change_share(services: Services, share_id: str, body: ShareChange, owner: str) -> Share:
    """Returns the share after its owner's change."""
    days = _checked_days(services, body.expires_days)
    if body.looks is not None:
        _validate_looks(body.looks)
    title = None if body.title is None else _one_line(body.title)
    return services.shares.change(share_id, owner, title=title, looks=body.looks, days=days)


def _checked_days(services: Services, days: int | None) -> int | None:
    most = services.settings.max_share_days
    if days is not None and days > most:
        raise ProblemError(ProblemCode.REQUEST_INVALID, f"A share may live {most} days at most, not {days}.")
    return days


def _validate_looks(looks: dict[str, Any]) -> None:
    try:
        size = len(canonical_json(looks).encode())
    except ValueError as error:
        raise ProblemError(ProblemCode.REQUEST_INVALID, "The looks hold a number that is not finite.") from error
    if size > LOOKS_BYTES:
        raise ProblemError(
            ProblemCode.REQUEST_INVALID, f"The looks have {size} bytes; {LOOKS_BYTES} bytes is the most."
        )


def _one_line(title: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in title).split())
