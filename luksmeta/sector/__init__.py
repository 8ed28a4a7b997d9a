"""Sector encryption as dm-crypt does it; :func:`luksmeta.sector.engine.create` is the way in."""
