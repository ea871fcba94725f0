"""Explainers as modules: what is trained on top of a network so that its answer can be read."""
