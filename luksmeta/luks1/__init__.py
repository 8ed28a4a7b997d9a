"""LUKS1: bytes of the partition header <-> model."""
