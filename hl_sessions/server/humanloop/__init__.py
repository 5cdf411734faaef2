"""Reads data that Humanloop's customers have saved, and stores it as records of this server."""
