"""Reports for case files."""
