"""Threads, forks, signals, event loops and checks of settings: nothing here knows of sessions."""
