"""The schema hash: another for other code, the same for another layout, on every version of Python."""

from __future__ import annotations

import pytest

from crypto_pipeline.features.definitions.registry import Feature, fingerprint, schema_hash
from crypto_pipeline.features.definitions.schema import COMPUTING, FEATURES, SCHEMA_HASH

CODE = '''
"""What it is."""
def mean(x, n: int = 3, *, f=lambda a: f"{a!r}"):
    """Mean."""
    if n > 2 and not x[1:-1]:  # why
        return sum(x) / n
    return -x[0] ** 2
'''


def test_comments_and_layout_do_not_count() -> None:
    other = (
        CODE.replace("Mean.", "Average.\n\n    Long.").replace("  # why", "").replace("sum(x) / n", "(sum(x) /\n n)")
    )
    assert fingerprint(other) == fingerprint(CODE)
    # Written down once: another version of Python must find the same.
    assert fingerprint(CODE) == "cb841fd9c6d27e29b5cf9123484e9219edd51e12dbbbc3f0bef20dedbdc692ea"


@pytest.mark.parametrize(
    ("old", "new"),
    [("> 2", "> 3"), ("sum(x) / n", "sum(x) / (n - 1)"), ("-x[0]", "x[0]"), ("n: int = 3", "m: int = 3")],
)
def test_every_statement_counts(old: str, new: str) -> None:
    assert fingerprint(CODE.replace(old, new)) != fingerprint(CODE)


def test_the_declared_list_counts() -> None:
    assert schema_hash(FEATURES, COMPUTING) == SCHEMA_HASH
    assert schema_hash(FEATURES[1:], COMPUTING) != SCHEMA_HASH
    assert schema_hash([Feature("lr_1", "return", 3, "another"), *FEATURES[1:]], COMPUTING) != SCHEMA_HASH
    assert schema_hash(FEATURES, COMPUTING[1:]) != SCHEMA_HASH
