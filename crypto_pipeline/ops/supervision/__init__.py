"""Starting, watching, restarting and stopping the programs of a deployment, the embedded PostgreSQL included.

``programs`` lists them: with ``CRYPTO_PIPELINE_DATABASE_URL`` set there is no program for the embedded server
(``store.embedded``), and nothing else here starts it. ``guardian`` is the process that `crypto-pipeline up` becomes.
"""
