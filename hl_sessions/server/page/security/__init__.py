"""Lets readers in, and keeps foreign pages and foreign content out."""
