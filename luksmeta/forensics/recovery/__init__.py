"""A header out of what is left of one, into a new file."""
