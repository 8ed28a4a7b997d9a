"""Device-mapper: tables of text, their targets run in user space, and the kernel's own driver."""
