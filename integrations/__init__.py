"""One module per framework: each scopes a session to that framework's unit of work."""
