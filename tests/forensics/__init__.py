"""Tests of what is left of LUKS on disks."""
