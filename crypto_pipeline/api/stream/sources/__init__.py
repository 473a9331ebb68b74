"""What reads for the channels of the stream, one module for each subject, and the rows that are sent."""
