"""Tables of macro series: ``reads`` needs psycopg alone, as readers have it; ``writer`` is built on SQLAlchemy."""
