"""The live layer: trades and prices from the venue's stream, the run that shows ingest, gaps and freshness."""
