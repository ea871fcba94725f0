"""The jobs that train explainers, and where they get their pictures from."""
