"""The routes of the page: each view answers one kind of request."""
