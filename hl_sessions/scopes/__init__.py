"""From where to where a session is current."""
