"""The commands of ``hl-sessions`` for a server and its data, with the options that they share."""
