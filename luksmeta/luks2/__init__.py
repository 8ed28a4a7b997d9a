"""LUKS2: bytes of the binary header and the JSON area <-> model."""
