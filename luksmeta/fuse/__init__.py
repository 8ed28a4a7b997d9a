"""The plaintext of a volume as a file, for programs that read and write files."""
