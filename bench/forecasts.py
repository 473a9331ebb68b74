"""Forecasts: what a night costs, whether intervals hold what they promise, and what is published on random walks.

    python bench/forecasts.py night [--instruments 110] [--days 180]
    python bench/forecasts.py coverage --recorded FOLDER
    python bench/forecasts.py walks [--series 300]
    python bench/forecasts.py statsmodels [--series 20]

`night` stores hourly and daily bars of random walks, fits and publishes all three horizons through PostgreSQL, anchors
all of them to last prices, and scores those that have expired a day later. `coverage` judges recorded series with the
choice made anew every week from what was known by then; its intervals are those of a block bootstrap, a block being one
horizon.
`statsmodels` (with the extra `forecast` and statsmodels installed) compares processor seconds per series.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import database, load, machine, postgres, table

from crypto_pipeline.forecasts import ets
from crypto_pipeline.forecasts.fitting import fit
from crypto_pipeline.forecasts.horizons import ForecastHorizon
from crypto_pipeline.forecasts.scoring import block_interval
from crypto_pipeline.forecasts.stored.anchors import anchored
from crypto_pipeline.forecasts.stored.scores import score_expired
from crypto_pipeline.forecasts.stored.update import bring_up_to_date
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders import recorded_closes
from crypto_pipeline_tests.builders.forecast_evaluation import Evaluation, evaluate, timeline
from crypto_pipeline_tests.builders.forecast_market import random_walk, store_closes

NOW = datetime(2026, 3, 5, 0, 0, 30, tzinfo=UTC)


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What it gives, seconds, and processor seconds of this process."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = work()
    return found, time.perf_counter() - wall, time.process_time() - cpu


def night(instruments: int, days: int) -> None:
    names = [f"C{number:03}-USDT" for number in range(instruments)]
    rows = []
    with postgres() as server, database(server, "forecasts") as url, Store(url) as store:
        for timeframe, count, step in ((Timeframe.H1, days * 24, 0.01), (Timeframe.D1, days, 0.03)):
            store_closes(store, {n: random_walk(count, k, step) for k, n in enumerate(names)}, timeframe, NOW)
        store_closes(store, {n: random_walk(1, k) for k, n in enumerate(names)}, Timeframe.M1, NOW)
        report, wall, cpu = timed(lambda: bring_up_to_date(store, now=NOW))
        published = sum(report.published.values())
        rows.append(("night: fit, choose, publish", published, f"{wall:.1f} s", f"{cpu:.1f} s"))
        horizons = list(ForecastHorizon)
        for what in ("anchor all to last prices", "the same again"):
            found, wall, cpu = timed(lambda: anchored(store, names, horizons))
            rows.append((what, len(found), f"{1000 * wall:.1f} ms", f"{1000 * cpu:.1f} ms"))
        best = min(timed(lambda: anchored(store, names, horizons))[1] for _ in range(20))
        rows.append(("anchor all, best of 20", len(found), f"{1000 * best:.1f} ms", ""))
        pure = [one.forecast for one in found.values()]
        _, wall, _ = timed(lambda: [one.anchored(one.price * 1.01, NOW).prices() for one in pure])
        rows.append(("anchor all, in memory", len(pure), f"{1000 * wall:.1f} ms", ""))
        day = NOW + timedelta(days=1)
        store_closes(store, {n: random_walk(24, k) for k, n in enumerate(names)}, Timeframe.H1, day)
        scored, wall, cpu = timed(lambda: score_expired(store, day))
        rows.append(("score what has expired", scored, f"{wall:.2f} s", f"{cpu:.2f} s"))
    print(f"{machine()}; statsforecast {'is' if ets.is_installed() else 'is not'} installed\n")
    table(["what", "forecasts", "wall", "processor"], rows)


def coverage(recorded: Path) -> None:
    tried = ets.is_installed()
    series: dict[ForecastHorizon, dict[str, Callable[[], np.ndarray]]] = {each: {} for each in ForecastHorizon}
    for name in recorded_closes.MINUTES:
        series[ForecastHorizon.HOURS][name] = lambda name=name: recorded_closes.hours(recorded, name)
    for horizon in (ForecastHorizon.DAYS, ForecastHorizon.WEEKS):
        for name in ("BTC-USD 2018-19", "ETH-USD 2019"):
            series[horizon][name] = lambda name=name: recorded_closes.days(recorded, name)
        series[horizon]["BTC-USD 2014-18"] = lambda: recorded_closes.coinbase_days(recorded)
        for ticker in ("aapl", "spy"):
            series[horizon][ticker.upper()] = lambda ticker=ticker: recorded_closes.sessions(recorded, ticker)
    print(f"{machine()}; candidates: naive, drift{', ets' if tried else ''}\n")
    rows = []
    for horizon, of in series.items():
        found = {name: evaluate(horizon, closes(), smoothing=tried) for name, closes in of.items()}
        rows += [_row(horizon, name, [one]) for name, one in found.items()]
        rows.append(_row(horizon, "**all**", list(found.values())))
    table(["horizon", "series", "origins", "80 %", "95 %", "loss against naive", "published"], rows)


def _row(horizon: ForecastHorizon, name: str, found: list[Evaluation]) -> tuple[object, ...]:
    def joined(parts: list[np.ndarray]) -> tuple[float, float, float]:
        values = np.concatenate(parts)
        return float(values.mean()), *block_interval(values, horizon.reach)

    shares = []
    for promised in (0.80, 0.95):
        mean, low, high = joined([one.inside[promised] for one in found])
        shares.append(f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})")
    published, naive = (np.concatenate([getattr(one, kind) for one in found]) for kind in ("published", "naive"))
    gain, low, high = joined([one.published - one.naive for one in found])
    scale = 100 / naive.mean()
    models = sum((one.models for one in found[1:]), start=found[0].models)
    shown = ", ".join(f"{model} {100 * count / models.total():.0f} %" for model, count in models.most_common())
    loss = f"{gain * scale:+.2f} % ({low * scale:+.2f} to {high * scale:+.2f})"
    return str(horizon), name, f"{len(published):,}", *shares, loss, shown


def walks(series: int) -> None:
    tried = ets.is_installed()
    print(f"{machine()}; candidates: naive, drift{', ets' if tried else ''}\n")
    rows = []
    for horizon in ForecastHorizon:
        line = timeline(horizon, 180 * 24 if horizon is ForecastHorizon.HOURS else 730)
        values = np.log(np.array([random_walk(line.bars, seed) for seed in range(series)]))
        found, _, cpu = timed(partial(fit, line, values, smoothing=tried))
        chosen = [one.choice.model for one in found if one is not None]
        share = 100 * chosen.count("naive") / len(chosen)
        rows.append((str(horizon), len(chosen), f"{share:.1f} %", f"{cpu:.1f} s"))
    table(["horizon", "random walks", "naive is published", "processor"], rows)


def statsmodels(series: int) -> None:
    import warnings

    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    warnings.filterwarnings("ignore")
    shapes: list[dict[str, Any]] = [{}, {"trend": "add"}, {"trend": "add", "damped_trend": True}]

    def best(values: np.ndarray) -> Any:
        return min((ETSModel(values, error="add", **each).fit(disp=False) for each in shapes), key=lambda one: one.aicc)

    horizon = ForecastHorizon.HOURS
    line = timeline(horizon, 4320)
    values = np.log(np.array([random_walk(line.bars, seed) for seed in range(series)]))
    newest = values[:, -ets.FITTED_BARS :]
    ets.fit(newest[:1])  # imports and compiles
    _, _, theirs = timed(lambda: [best(row) for row in newest])
    _, _, ours = timed(lambda: ets.fit(newest))
    _, _, night_ours = timed(lambda: fit(line, values, smoothing=True))
    few = values[: max(1, series // 10)]

    def rolling() -> None:
        for row in few:
            for back in range(60, 0, -1):
                best(row[-back - ets.FITTED_BARS : -back]).forecast(24)

    _, _, night_theirs = timed(rolling)
    model = ets.fit(newest)
    _, _, refilter = timed(lambda: [ets.states(model, newest[:, -24:]) for _ in range(20)])
    per = [1000 * each / series for each in (theirs, ours, night_ours)]
    print(f"{machine()}; load {load()}\n")
    table(
        ["processor milliseconds per series", "statsmodels", "ours", "ratio"],
        [
            ("one fit of 500 bars, three shapes by AICc", f"{per[0]:.1f}", f"{per[1]:.1f}", f"{per[0] / per[1]:.1f}"),
            (
                "a night: 60 rolling origins (ours: 2,160, all candidates)",
                f"{1000 * night_theirs / len(few):.0f}", f"{per[2]:.0f}",
                f"{1000 * night_theirs / len(few) / per[2]:.1f}",
            ),
            (
                "after a close: a fit (ours: the recursion over the day's bars)",
                f"{per[0]:.1f}", f"{1000 * refilter / 20 / series:.3f}", f"{theirs / (refilter / 20):.0f}",
            ),
        ],
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["night", "coverage", "walks", "statsmodels"])
    parser.add_argument("--instruments", type=int, default=110)
    parser.add_argument("--days", type=int, default=180)
    parser.add_argument("--series", type=int, default=None)
    parser.add_argument("--recorded", type=Path)
    chosen = parser.parse_args()
    if chosen.what == "night":
        night(chosen.instruments, chosen.days)
    elif chosen.what == "coverage":
        coverage(chosen.recorded)
    elif chosen.what == "walks":
        walks(chosen.series or 300)
    else:
        statsmodels(chosen.series or 20)


if __name__ == "__main__":
    main()
