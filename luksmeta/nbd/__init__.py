"""The plaintext of a volume as a network block device, for virtual machines and other clients."""
