"""What is told to people: alerts as they are announced, the outbox of messages, and the reports that were made."""
