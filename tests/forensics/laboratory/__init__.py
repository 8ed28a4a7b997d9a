"""The damage laboratory: ways to damage a volume, what is left then, and who brings it back."""
