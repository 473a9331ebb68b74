"""Sources: each venue as an external asset with its checks, its price updates and its historical sync."""
