"""Changes as a server of this project streams them: a client that connects anew and goes on where it was.

It needs only the address of the server and the package ``websockets``. Whether anyone follows never matters to what is
stored.
"""

from crypto_pipeline.reading.stream.live_stream import LiveStream
from crypto_pipeline.reading.stream.update import StreamUpdate

__all__ = ["LiveStream", "StreamUpdate"]
