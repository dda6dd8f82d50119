"""The page of a sweep, `report.html` in its folder: one file, written from `sweep.json` alone, without JAX."""
