"""What the subjects share: partitions, resources, run requests, check results, metadata. No definition of its own."""
