"""The v4 API server that the package brings along (extra ``server``)."""
