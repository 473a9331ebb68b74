"""A hash of what code computes, not of where it stands or how it is written.

It starts at some definitions, follows every function, class and constant of the project that they reach, and writes
all of them down as one list of words. Into the hash go operators, constants, the order of arguments, what is called,
and names that are looked up while the program runs (attributes, methods, keyword arguments of unknown functions). The
following do not count: modules and import statements, names of functions, classes, constants, arguments and local
variables, annotations, docstrings, comments, the order of decorators, messages of errors and of logs.

Of a class only those methods count (and, of an Enum, those members) whose name occurs in the code that is reached.
Library code counts by its dotted name, not by its version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from crypto_pipeline.features.definitions.code_hash.names import Definition, Project, Source
from crypto_pipeline.features.definitions.code_hash.writer import Table, Writer

__all__ = ["Definition", "Source", "Table", "code_hash"]


def code_hash(package: str, source: Source, entries: Iterable[Definition], table: Table = lambda _: None) -> str:
    """SHA-256 of what ``entries`` compute, as hexadecimal digits; the same on every version of Python.

    ``source`` gives the code of a module of ``package`` by its dotted name. A constant for which ``table`` gives
    entries counts as these, in the order of their labels, wherever and however it is written.

    Raises LookupError for a name of the project that is defined nowhere, TypeError for a table entry that is no
    function of the project (or ``functools.partial`` of one with plain values).
    """
    writer = Writer(Project(package, source), table)
    return hashlib.sha256("\0".join(writer.words(entries)).encode()).hexdigest()
