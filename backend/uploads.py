"""Uploaded pictures are read by the one strict reader that training pictures go through as well."""

from __future__ import annotations

from backend.contract.decoding import MAX_BYTES, MIN_SIDE, clean_name, encode_png, read_picture, too_large

__all__ = ["MAX_BYTES", "MIN_SIDE", "clean_name", "encode_png", "read_picture", "too_large"]
