"""Threads, forks, signals, event loops and checks of settings; no module here knows of sessions."""
