"""What the pages ask the database for, and how their addresses say which part of it."""
