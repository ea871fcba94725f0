"""The HTTP side of Vitrine: a light FastAPI application that never imports torch."""
