"""Read the bars of another machine: over PostgreSQL, and over HTTP.

    pip install crypto-pipeline
    python another_machine.py postgresql://dashboards:password@host:5432/crypto_pipeline http://host:8790

The first address is that of the database, for a role that may read (docs/sql.md makes one). The second is that of the
API. If it has a token, put it into CRYPTO_PIPELINE_API_TOKEN. Both bind to 127.0.0.1 by default; a tunnel
(`ssh -L 8790:127.0.0.1:8790 host`) reaches them without opening a port.
"""

import io
import os
import sys
from urllib.request import Request, urlopen

import polars as pl

import crypto_pipeline

database_url, api_url = sys.argv[1:]

# Over PostgreSQL: every read of the package, without the package's server side.
with crypto_pipeline.Reader(database_url) as reader:
    print(reader)
    bars = reader.bars("BTC-USDT", "1h", last=24)
print(f"newest close over PostgreSQL: {bars['close'][-1]}")

# Over HTTP: any language; Arrow keeps the types. A proxy of the environment is not asked for a machine of our own.
request = Request(
    f"{api_url}/bars/BTC-USDT?timeframe=1h&last=24", headers={"Accept": "application/vnd.apache.arrow.stream"}
)
if token := os.environ.get("CRYPTO_PIPELINE_API_TOKEN"):
    request.add_header("Authorization", f"Bearer {token}")
with urlopen(request, timeout=30) as answer:
    over_http = pl.read_ipc_stream(io.BytesIO(answer.read()))
    print(f"as of {answer.headers['X-As-Of']}, {answer.headers['Age']} s old")
print(f"newest close over HTTP:       {over_http['close'][-1]}")
