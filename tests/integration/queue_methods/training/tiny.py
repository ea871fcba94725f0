"""A further kind of training in a folder outside the project."""

from tests.fakes_training import KIND

__all__ = ["KIND"]
