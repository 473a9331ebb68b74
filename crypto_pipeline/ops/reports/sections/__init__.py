"""The sections, by subject: each is made from a ``ReportSource`` and nothing else."""
