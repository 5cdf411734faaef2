"""One module per framework. Each one opens a session for the framework's unit of work, such as a request."""
