"""``hl-sessions demo``: the API server and a small chat application that uses the middleware."""
