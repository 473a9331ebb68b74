"""Labels once more, by a person with a pencil: one event after the other, one bar after the other, no arrays.

Written from the definitions, without any code of the package. Bars are dictionaries from the open time (milliseconds)
to (open, high, low, close, volume); parameters are plain dictionaries.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

MINUTE, QUARTER, HOUR, DAY = 60_000, 900_000, 3_600_000, 86_400_000
Bar = tuple[float, float, float, float, float]
Bars = dict[int, Bar]
OPEN, HIGH, LOW, CLOSE, VOLUME = range(5)


def window(bars: Bars, end: int, count: int, field: int) -> list[float] | None:
    """The last ``count`` values up to the bar at ``end``; None when one of them is absent."""
    found = []
    for number in range(count):
        bar = bars.get(end - number * QUARTER)
        if bar is None:
            return None
        found.append(bar[field])
    return found[::-1]


def rsi_series(bars: Bars) -> dict[int, float]:
    """RSI 14 at every bar: smoothed from the first change on, told from the 14th on."""
    values: dict[int, float] = {}
    gain = loss = 0.0
    seen, before = 0, None
    for time in sorted(bars):
        close = bars[time][CLOSE]
        if before is not None:
            up, down = max(close - before, 0.0), max(before - close, 0.0)
            if seen == 0:
                gain, loss = up, down
            else:
                gain, loss = gain + (up - gain) / 14, loss + (down - loss) / 14
            seen += 1
            if seen >= 14 and gain + loss > 0:
                values[time] = 100 * gain / (gain + loss)
        before = close
    return values


def histogram_series(bars: Bars) -> dict[int, float]:
    """MACD 12/26 less its signal line 9, at every bar where all three are told."""
    values: dict[int, float] = {}
    fast = slow = signal = 0.0
    seen = lines = 0
    for time in sorted(bars):
        close = bars[time][CLOSE]
        fast = close if seen == 0 else fast + (close - fast) * 2 / 13
        slow = close if seen == 0 else slow + (close - slow) * 2 / 27
        seen += 1
        if seen < 26:
            continue
        line = fast - slow
        signal = line if lines == 0 else signal + (line - signal) * 2 / 10
        lines += 1
        if lines >= 9:
            values[time] = line - signal
    return values


def calm(benchmark: Bars, time: int) -> bool:
    now, hour, day = (benchmark.get(time - back) for back in (0, HOUR, DAY))
    if now is None:
        return False
    changes = [now[CLOSE] / bar[CLOSE] - 1 if bar else None for bar in (hour, day)]
    if changes[0] is not None and changes[0] <= -0.03:
        return False
    if changes[1] is not None and changes[1] <= -0.05:
        return False
    four = benchmark.get(time - 4 * HOUR)
    return hour is not None and day is not None and four is not None


def dca_setups(bars: Bars, benchmark: Bars, p: dict[str, Any]) -> list[dict[str, Any]]:
    rsi = rsi_series(bars)
    candidates = []
    for time in sorted(bars):
        highs = window(bars, time, p["fall_window"], HIGH)
        if highs is None:
            continue
        fall = bars[time][CLOSE] / max(highs) - 1
        if fall > -p["fall"] or rsi.get(time, 101.0) > p["rsi_max"] or not calm(benchmark, time):
            continue
        volumes = window(bars, time, 96, VOLUME)
        if volumes is None:
            continue
        ratio = (sum(volumes[-4:]) / 4) / (sum(volumes) / 96)
        if ratio >= p["volume_ratio"]:
            candidates.append({"signal": time, "fall": fall, "volume_ratio": ratio, "rsi14": rsi[time]})
    candidates = usable(candidates, bars)
    taken = spaced([one["signal"] for one in candidates], p["spacing"])
    return [one for one in candidates if one["signal"] in taken]


def usable(found: list[dict[str, Any]], bars: Bars) -> list[dict[str, Any]]:
    """Those that can be entered at the next bar, after 400 bars of the series."""
    first = min(bars)
    return [one for one in found if one["signal"] + QUARTER in bars and one["signal"] - first >= 400 * QUARTER]


def spaced(times: list[int], spacing: int) -> set[int]:
    """Candidates that are setups: each run followed from its start, or from a Monday a week later."""
    apart = spacing * QUARTER
    runs: list[list[int]] = []
    for time in times:
        if runs and time - runs[-1][-1] < apart:
            runs[-1].append(time)
        else:
            runs.append([time])
    taken: set[int] = set()
    for run in runs:
        last = run[0] - apart
        for place, time in enumerate(run):
            monday = (time - 4 * DAY) // (7 * DAY) * 7 * DAY + 4 * DAY
            is_first_of_week = place > 0 and run[place - 1] < monday
            if is_first_of_week and monday - run[0] > 7 * DAY:
                last = run[place - 1]
            if time - last >= apart:
                taken.add(time)
                last = time
    return taken


def swing_setups(bars: Bars, hours: Bars, p: dict[str, Any]) -> list[dict[str, Any]]:
    rsi, histogram = rsi_series(bars), histogram_series(bars)
    found = []
    for time in sorted(bars):
        before = window(bars, time - QUARTER, p["window"], HIGH)
        if before is None:
            continue
        close = bars[time][CLOSE]
        breakout = close / max(before) - 1
        if breakout <= p["breakout"]:
            continue
        volumes, day = window(bars, time, p["window"], VOLUME), bars.get(time - DAY)
        if volumes is None or day is None or time not in rsi or time not in histogram:
            continue
        ratio, change = bars[time][VOLUME] / (sum(volumes) / len(volumes)), close / day[CLOSE] - 1
        if ratio < p["volume_ratio"] or not p["rsi_min"] <= rsi[time] <= p["rsi_max"]:
            continue
        if histogram[time] <= 0 or change > p["day_change_max"] or not rising(hours, time + QUARTER):
            continue
        found.append(
            {
                "signal": time,
                "breakout": breakout,
                "volume_ratio": ratio,
                "rsi14": rsi[time],
                "macd_histogram": histogram[time] / close,
                "day_change": change,
            }
        )
    return found


def rising(hours: Bars, now: int) -> bool:
    """On the last hour closed by ``now``: close above SMA 20 above SMA 50."""
    last = now - now % HOUR - HOUR
    closes = [hours[last - back * HOUR][CLOSE] for back in range(50) if last - back * HOUR in hours]
    if len(closes) < 50:
        return False
    return closes[0] > sum(closes[:20]) / 20 > sum(closes) / 50


def channel_setups(bars: Bars, tier: str, p: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    n = p["window"]
    for time in sorted(bars):
        close, previous = bars[time][CLOSE], bars.get(time - QUARTER)
        if previous is None or close <= previous[CLOSE]:
            continue
        highs, lows = window(bars, time, 96, HIGH), window(bars, time, 96, LOW)
        closes = window(bars, time, n, CLOSE)
        if highs is None or lows is None or closes is None:
            continue
        day_range = max(highs) / min(lows) - 1
        if day_range >= p["day_range_max"]:
            continue
        logs = [math.log(value) for value in closes]
        mean_x, mean_y = (n - 1) / 2, math.fsum(logs) / n
        slope = math.fsum((x - mean_x) * (y - mean_y) for x, y in enumerate(logs)) / math.fsum(
            (x - mean_x) ** 2 for x in range(n)
        )
        residuals = [y - (mean_y + slope * (x - mean_x)) for x, y in enumerate(logs)]
        sigma = math.sqrt(math.fsum(residual**2 for residual in residuals) / n)
        half = p["bands"] * sigma
        if half == 0:
            continue
        end = mean_y + slope * (n - 1 - mean_x)
        width, position = math.exp(2 * half) - 1, (logs[-1] - end + half) / (2 * half)
        if not p["width_min"] <= width <= p["width_max"] or position > p["position_max"]:
            continue
        target = math.exp(end - half + p["target"] * 2 * half)
        stop = math.exp(end - half) * (1 - p["stop_below"])
        if stop >= close:
            continue
        gain, loss = (traded([close], what, at, p["costs"], tier) for what, at in (("TP", target), ("SL", stop)))
        reward_to_risk = gain / -loss
        inside = sum(abs(residual) <= half for residual in residuals) / n
        near = p["touch_within"] * sigma
        ranges = []  # of each bar, above the line
        for x in range(n):
            bar, line = bars[time - (n - 1 - x) * QUARTER], mean_y + slope * (x - mean_x)
            ranges.append((math.log(bar[LOW]) - line, math.log(bar[HIGH]) - line))
        upper = touches([high >= half - near and low <= half + near for low, high in ranges], p["touch_apart"])
        lower = touches([low <= near - half and high >= -half - near for low, high in ranges], p["touch_apart"])
        if reward_to_risk < p["reward_to_risk"] or inside < p["containment"] or min(upper, lower) < p["touches"]:
            continue
        found.append(
            {
                "signal": time,
                "slope": slope,
                "sigma": sigma,
                "width": width,
                "containment": inside,
                "touches_upper": upper,
                "touches_lower": lower,
                "position": position,
                "day_range": day_range,
                "reward_to_risk": reward_to_risk,
                "target": target,
                "stop": stop,
            }
        )
    return found


def touches(touched: list[bool], apart: int) -> int:
    count, last = 0, -apart
    for place, is_touch in enumerate(touched):
        if is_touch and place - last >= apart:
            count, last = count + 1, place
    return count


class Event:
    """One setup on its way through the bars."""

    def __init__(self, setup: dict[str, Any], strategy: str, bars: Bars, p: dict[str, Any], tier: str) -> None:
        self.setup, self.p = setup, p
        self.entry = setup["signal"] + QUARTER
        price = bars[self.entry][OPEN]
        exits = p["exits"][tier]
        self.fills, self.pending = [price], []
        self.fixed: float | None = price * (1 + exits["take_profit"])
        self.stop = price * (1 - exits["stop_loss"])
        self.fallback = False
        self.profit = exits["take_profit"]
        if strategy == "dca":
            orders = [price * (1 - p["step"] * number) for number in range(p["orders"])]
            average = len(orders) / sum(1 / order for order in orders)
            self.stop = max(orders[-1] * (1 - p["stop_below"]), average * (1 - exits["stop_loss"]))
            self.pending, self.fixed = orders[1:], None
        elif strategy == "channel":
            if setup["stop"] < price < setup["target"]:
                self.stop, self.fixed = setup["stop"], setup["target"]
            else:
                self.fallback = True
        self.ambiguous = "no"
        self.lowest = self.highest = price

    def average(self, more: list[float] | None = None) -> float:
        prices = self.fills + (more or [])
        return len(prices) / sum(1 / price for price in prices)

    def target(self, more: list[float] | None = None) -> float:
        return self.fixed if self.fixed is not None else self.average(more) * (1 + self.profit)

    def fill(self, count: int, price: float | None = None) -> None:
        for order in self.pending[:count]:
            self.fills.append(order if price is None else price)
        self.pending = self.pending[count:]

    def follow(self, bars: Bars, minutes: Bars, until: int) -> tuple[str | None, int, float | None]:
        """Outcome, bars held, exit price; None when the bars end (at ``until``) before anything happened."""
        last = math.nan
        for number in range(self.p["horizon"]):
            time = self.entry + number * QUARTER
            if time >= until:
                return None, number, None
            if time not in bars:
                continue
            last = bars[time][CLOSE]
            ended = self.step(time, bars[time], minutes)
            if ended is not None:
                seen = (bars[time][OPEN], ended[1])
                self.lowest, self.highest = min(self.lowest, *seen), max(self.highest, *seen)
                return ended[0], number + 1, ended[1]
            self.lowest = min(self.lowest, bars[time][LOW])
            self.highest = max(self.highest, bars[time][HIGH])
        return "TIME", self.p["horizon"], last

    def step(self, time: int, bar: Bar, minutes: Bars) -> tuple[str, float] | None:
        if bar[OPEN] <= self.stop:
            return "SL", bar[OPEN]
        self.fill(sum(bar[OPEN] <= order for order in self.pending), bar[OPEN])
        if bar[OPEN] >= self.target():
            return "TP", bar[OPEN]
        reached = [order for order in self.pending if bar[LOW] <= order]
        stopped, taken = bar[LOW] <= self.stop, bar[HIGH] >= self.target(reached)
        if not taken:
            self.fill(len(reached))
            return ("SL", self.stop) if stopped else None
        if not stopped and not reached:
            return "TP", self.target()
        return self.inside(time, bar, minutes)

    def inside(self, time: int, bar: Bar, minutes: Bars) -> tuple[str, float] | None:
        """One bar that can be read in two ways."""
        opens = range(time, time + QUARTER, MINUTE)
        traded = [minutes[each] for each in opens if each in minutes and minutes[each][VOLUME] > 0]
        whole = bool(traded) and (
            max(each[HIGH] for each in traded) == bar[HIGH] and min(each[LOW] for each in traded) == bar[LOW]
        )
        if self.ambiguous == "no":
            self.ambiguous = "minutes"
        if not whole:
            self.ambiguous = "assumed"
            traded = [bar]
        for minute in traded:
            ended = self.minute(minute)
            if ended is not None:
                if ended == "SL":
                    self.fill(len(self.pending))
                return ended, self.stop if ended == "SL" else self.target()
        return None

    def minute(self, minute: Bar) -> str | None:
        if minute[OPEN] <= self.stop:
            return "SL"
        self.fill(sum(minute[OPEN] <= order for order in self.pending))
        if minute[OPEN] >= self.target():
            return "TP"
        reached = [order for order in self.pending if minute[LOW] <= order]
        if minute[LOW] <= self.stop:
            if minute[HIGH] >= self.target(reached):
                self.ambiguous = "assumed"
            return "SL"
        if minute[HIGH] >= self.target():
            if reached:
                self.ambiguous = "assumed"
            return "TP"
        if reached and minute[HIGH] >= self.target(reached):
            self.ambiguous = "assumed"
        self.fill(len(reached))
        return None


def labels(
    strategy: str,
    bars: Bars,
    minutes: Bars,
    hours: Bars,
    benchmark: Bars,
    p: dict[str, Any],
    tier: str,
    until: int,
) -> list[dict[str, Any]]:
    """Every label of one instrument, ``outcome`` None where the bars end (at ``until``) too soon."""
    found = {
        "dca": lambda: dca_setups(bars, benchmark, p),
        "swing": lambda: swing_setups(bars, hours, p),
        "channel": lambda: channel_setups(bars, tier, p),
    }[strategy]()
    rows = [one_label(setup, strategy, bars, minutes, p, tier, until) for setup in usable(found, bars)]
    alive: dict[int, int] = {}
    for row in rows:
        for time in lifetime(row):
            alive[time] = alive.get(time, 0) + 1
    for row in rows:
        shares = [1 / alive[time] for time in lifetime(row)]
        row["uniqueness"] = sum(shares) / len(shares)
    return rows


def lifetime(row: dict[str, Any]) -> Iterator[int]:
    return iter(range(row["entry_ts"], row["label_end_ts"], QUARTER))


def one_label(
    setup: dict[str, Any],
    strategy: str,
    bars: Bars,
    minutes: Bars,
    p: dict[str, Any],
    tier: str,
    until: int,
) -> dict[str, Any]:
    event = Event(setup, strategy, bars, p, tier)
    price = event.fills[0]
    outcome, held, out = event.follow(bars, minutes, until)
    gross = out / event.average() - 1 if out is not None else None
    net = traded(event.fills, outcome, out, p["costs"], tier) if outcome is not None and out is not None else None
    row = {
        "signal_ts": setup["signal"],
        "entry_ts": event.entry,
        "entry_px": price,
        "take_profit": event.target(),
        "stop_loss": event.stop,
        "horizon": p["horizon"],
        "outcome": outcome,
        "label_end_ts": event.entry + held * QUARTER,
        "bars_to_touch": held,
        "exit_px": out,
        "gross_return": gross,
        "net_return": net,
        "mae": event.lowest / price - 1,
        "mfe": event.highest / price - 1,
        "ambiguous": event.ambiguous,
        "outcome_class": outcome_class(outcome, net, p["breakeven"]),
        "tier": tier,
    }
    if strategy == "dca":
        row |= {"orders_filled": len(event.fills), "average_px": event.average()}
    if strategy == "channel":
        row["fallback"] = event.fallback
    return row | {name: value for name, value in setup.items() if name not in ("signal", "target", "stop")}


def traded(fills: list[float], outcome: str, out: float, costs: dict[str, float], tier: str) -> float:
    """Spend 1 on every order, sell all that was bought; what is left of each unit spent, less 1."""
    slippage, fee = costs[f"slippage_{tier}"], costs["fee"]
    spent = got = 0.0
    for number, price in enumerate(fills):
        at_market = number == 0
        units = 1 / (price * (1 + slippage) if at_market else price)
        spent += 1 + fee
        sold_at = out if outcome == "TP" else out * (1 - slippage)
        got += units * sold_at * (1 - fee)
    return got / spent - 1


def outcome_class(outcome: str | None, net: float | None, breakeven: float) -> str | None:
    if outcome is None or net is None:
        return None
    if outcome == "TIME":
        return "TIMEOUT"
    if abs(net) <= breakeven:
        return "BREAKEVEN"
    return "WIN" if net > 0 else "LOSS"
