"""The page: Dash layouts and renderers that talk to the API from the browser."""
