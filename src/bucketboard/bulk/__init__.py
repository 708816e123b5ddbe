"""Work on many runs: one function per run, done by threads, processes or a Dask cluster."""
