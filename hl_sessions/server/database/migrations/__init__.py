"""Alembic's scripts, which bring the tables of any released version up to date."""
