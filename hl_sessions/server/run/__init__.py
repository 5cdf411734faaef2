"""An application as a process, or several: on a socket, until it is told to end."""
