"""The site of the documentation: the pages of ``docs/``, a reference made of the code, and the check of all links.

    python -m docs_site                    # builds site/, over a PostgreSQL that it starts and ends
    python -m docs_site --database URL     # over a migrated database of yours

Zensical builds it: the successor of Material for MkDocs, by the same authors. MkDocs itself had its last stable
release in 2024, and Material for MkDocs ends in May 2027. ``mkdocs.yml`` is written so that both can read it.
Zensical is young, so its version is pinned.
"""
