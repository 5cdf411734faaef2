"""Stores everything in SQLite or PostgreSQL: tables, transactions, migrations and the text index."""
