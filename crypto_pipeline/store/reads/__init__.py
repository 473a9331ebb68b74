"""Reading bars and trades for people and programs: table and archive as one answer.

Writing, and reads that other rooms need for their own tables, do not belong here.
"""
