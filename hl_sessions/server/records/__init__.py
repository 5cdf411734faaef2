"""Reads and changes the records: a module for each kind, and for the work that concerns all of them."""
