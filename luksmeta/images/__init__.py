"""Whole encrypted images, made in one step: from a directory, or out of another image."""
