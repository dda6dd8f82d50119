"""The page of a run or a sweep, `report.html`: one file, written from what is on disk, without JAX."""
