"""The exchange's endpoints over the tape: REST, streams, file archive, control."""
