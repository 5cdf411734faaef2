"""What happens while the other side is not there, and what is kept ready for when it is slow."""
