"""``python -m crypto_pipeline.cli``."""

from crypto_pipeline.cli.app import main

main()
