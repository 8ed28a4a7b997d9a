"""Whether a header can be trusted: policies, snapshots from check to use, measuring, the seal."""
