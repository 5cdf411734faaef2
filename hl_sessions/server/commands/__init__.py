"""The commands of ``hl-sessions`` about a server and its data, and the options that they share."""
