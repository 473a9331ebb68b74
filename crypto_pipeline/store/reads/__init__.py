"""Reading bars and trades for people and programs, from table and archive together.

Writing does not belong here, nor reads of other packages' own tables.
"""
