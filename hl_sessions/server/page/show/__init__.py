"""How what was logged is made readable: as text, HTML and shapes."""
