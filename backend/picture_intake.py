"""Puts pictures into the store: uploads and samples take the same way."""

from __future__ import annotations

from backend.contract.schemas import PictureRecord
from backend.services import Services
from backend.uploads import encode_png, read_picture, too_large


def take_upload(services: Services, data: bytes, name: str) -> PictureRecord:
    """Returns the record of an uploaded picture after storing it.

    Raises:
        ProblemError: Why the file is refused.
    """
    settings = services.settings
    if len(data) > settings.max_upload_bytes:
        raise too_large(len(data), settings.max_upload_bytes)
    with services.decoding:
        record, pixels = read_picture(
            data, max_pixels=settings.max_pixels, name=name, max_bytes=settings.max_upload_bytes
        )
        png = encode_png(pixels)
    known = services.store.get_picture_record(record.id)
    if known is not None and known.truth is not None:
        # The same pixels as a drawn sample: what is known of it stays known.
        record = known
    services.store.put_picture(record, png)
    return record


def take_sample(services: Services, sample_id: str) -> PictureRecord:
    """Returns the record of a sample picture after storing it, with what is known to be true of it.

    Raises:
        ProblemError: ``not_found``.
    """
    sample = services.samples.get(sample_id)
    data = sample.path.read_bytes()
    with services.decoding:
        record, pixels = read_picture(
            data, max_pixels=services.settings.max_pixels, name=sample.title, source=sample.group
        )
        png = encode_png(pixels)
    record = record.model_copy(update={"truth": sample.truth})
    services.store.put_picture(record, png)
    return record
