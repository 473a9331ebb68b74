"""Where archive files are: a path on this machine or an object store, by one URL, through the object_store library.

Credentials and endpoints of object stores come from the environment under the names that library and Polars both read
(``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_REGION``, ``AWS_ENDPOINT_URL``, ``AWS_ALLOW_HTTP``,
``GOOGLE_SERVICE_ACCOUNT``, ``AZURE_STORAGE_ACCOUNT_NAME`` …), never from a setting that could be printed.
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

SCHEMES = ("file", "s3", "s3a", "gs", "az", "abfs", "abfss")


def scan_source(url: str) -> str:
    """``url`` as Polars reads it: a plain path of this machine, or the object store's URL."""
    parts = urlsplit(url)
    return unquote(parts.path) if parts.scheme == "file" else url
