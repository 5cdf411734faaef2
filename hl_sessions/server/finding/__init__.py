"""Finds sessions by a filter, for the API and for the page."""
