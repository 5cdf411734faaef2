"""Where everything is kept: SQLite or PostgreSQL, their tables, and the transactions on them."""
