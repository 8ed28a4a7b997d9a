"""LUKS2 tokens: what each type must be, who is assigned to whom, notes and recovery keys."""
