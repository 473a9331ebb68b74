"""Follow prices and closed bars as they are stored.

    python live_stream.py [URL [COUNT]]

URL is that of the API (default: of `crypto-pipeline up` on this machine). Ends after COUNT updates, or with Ctrl-C. The
stream connects anew after a break and goes on where it was. Whether anyone follows never matters to what is stored.
In a notebook, put `async for …` into a cell as it is: a notebook has a running event loop.
"""

import asyncio
import sys

import crypto_pipeline


async def main(url: str | None, count: int | None) -> None:
    seen = 0
    async with crypto_pipeline.stream("prices", "bars/BTC-USDT/1m", url=url) as updates:
        async for update in updates:
            if update.kind == "changed":
                # more changed than the stream carries, for example after a long break: read these spans again
                for start, end in update.spans:
                    print(f"{update.channel}: read {start:%Y-%m-%d %H:%M}Z to {end:%Y-%m-%d %H:%M}Z again", flush=True)
            elif update.channel == "prices":
                for row in update.rows:
                    print(f"{update.kind}: {row['instrument']} {row['price']:g}", flush=True)
            elif update.rows:
                newest = update.frame().row(-1, named=True)
                time, close = newest["open_time"], newest["close"]
                print(f"{update.kind}: {len(update.rows)} bars, newest {time:%H:%M} at {close:g}", flush=True)
            seen += 1
            if seen == count:
                return


address = sys.argv[1] if len(sys.argv) > 1 else None
updates = int(sys.argv[2]) if len(sys.argv) > 2 else None
try:
    asyncio.run(main(address, updates))
except KeyboardInterrupt:
    pass
