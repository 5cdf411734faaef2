"""Turns logged values into readable text, HTML and shapes."""
