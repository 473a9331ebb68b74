"""Whether this machine has what a deployment needs: looked at before the first start, or when a start fails.

Each module looks at one thing and says what it found, whether it will do, and what to do where it will not. Nothing is
changed, nothing is started but programs that only print their version. The state of a running deployment is ``checks``.
"""
