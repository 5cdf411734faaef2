"""The v4 API server and its page (extra ``server``)."""
