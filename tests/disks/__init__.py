"""Tests of luksmeta.disks."""
