"""Reports for case files: what evidence holds, as one page that needs nothing else."""
