"""Tests of luksmeta.fuse."""
