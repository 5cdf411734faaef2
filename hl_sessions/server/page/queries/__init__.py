"""The database queries of the pages."""
