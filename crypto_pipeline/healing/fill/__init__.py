"""Getting bars that are missing: from stored trades, from the venue or another one; explaining what stays missing."""
