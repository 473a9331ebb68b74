"""Labels: what became of every setup, one table for each strategy."""
