"""The pages and what is behind their forms and scripts: each view answers one kind of request."""
