"""What the four packages agree on: shapes of requests and results, keys, problems, storage.

This package is the only code that the backend, the workers, the models and the frontend share.
It imports neither torch nor FastAPI.
"""
