"""Whether a strategy has found nothing for longer than its own history makes likely.

Setups come in clusters, so days are counted, not setups. Of ``days`` days that were scanned, ``found`` had a setup.
With Jeffreys' prior the share of such days is Beta(a, b) with a = found + 1/2 and b = days - found + 1/2, and the
probability that the next k days have none is B(a, b + k) / B(a, b): the beta-binomial's probability of 0 (Gelman et
al., Bayesian Data Analysis, 3rd ed., section 2.4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: History that is shorter says nothing, in days.
LEAST_DAYS = 14
#: A silence that is less likely than this is told.
IMPROBABLE = 0.001


@dataclass(frozen=True, slots=True)
class SetupSilence:
    """A strategy's silence in days, what its history makes of it, and whether somebody is to be told."""

    days: float
    probability: float
    longest_before: int
    history: int
    improbable: bool


def silence(found: Sequence[bool], now: float) -> SetupSilence:
    """Judge a silence of ``now`` days after ``found``: whether each earlier scanned day, in order, had a setup.

    It is improbable where its probability is below IMPROBABLE and it is longer than every silence before it: days with
    setups cluster too, and a silence of that length has been seen. A short history, and one without setups, says
    nothing.
    """
    count, days = sum(found), len(found)
    a, b = count + 0.5, days - count + 0.5
    log = math.lgamma(b + now) + math.lgamma(a + b) - math.lgamma(b) - math.lgamma(a + b + now)
    probability = math.exp(min(0.0, log))
    longest = _longest(found)
    told = days >= LEAST_DAYS and count > 0 and probability < IMPROBABLE and now > longest
    return SetupSilence(now, probability, longest, days, told)


def _longest(found: Sequence[bool]) -> int:
    longest = run = 0
    for day in found:
        run = 0 if day else run + 1
        longest = max(longest, run)
    return longest
