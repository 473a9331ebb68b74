"""Making backups while the deployment runs, their files on disk, and restoring from them."""
