"""Independent, deliberately simple second implementations, which tests compare the package with."""
