"""Property tests on a machine that does other things too: no deadline per example, and not too many of them."""

from hypothesis import settings

settings.register_profile("market", deadline=None, max_examples=30)
settings.load_profile("market")
