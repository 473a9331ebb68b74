"""Starting, watching, restarting and stopping the programs of a deployment, the embedded PostgreSQL included.

``programs`` lists them. With ``CRYPTO_PIPELINE_DATABASE_URL`` set, the list has no embedded server
(``store.embedded``), and nothing else here starts one. ``guardian`` is the process of `crypto-pipeline up`.
"""
