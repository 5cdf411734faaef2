"""Defines the values, requests and answers of the v4 API. Nothing here reads or stores anything."""
