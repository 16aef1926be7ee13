"""Prices of the fictional companies: a noisy pull towards fundamental value, times the mood of the market.

A close is value a share x mispricing x mood of the market + dividend accrued. Half of a change in value is foreseen while the quarter goes
on, half arrives with the filing. Mispricing returns to fair with a half-life of about a year. Arithmetic is plain Python with
+ - * / and sqrt only, for the reason given in sample_noise.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from itertools import pairwise
from math import sqrt
from typing import NamedTuple

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.model.market import ActionType
from tradebot_core.simulation.sample_companies import Company
from tradebot_core.simulation.sample_filings import Filing, shares_outstanding
from tradebot_core.simulation.sample_noise import normals
from tradebot_core.simulation.sample_statements import Quarter

_SESSIONS_A_YEAR = 252
_REVERSION = 0.7 / _SESSIONS_A_YEAR  # half-life of a year
_SENTIMENT_REVERSION = 12.0 / _SESSIONS_A_YEAR  # of three weeks, while a sentiment lasts
_MARKET_REVERSION = 0.8 / _SESSIONS_A_YEAR
_MARKET_DAILY = 0.0075
_FORESEEN_AFTER = timedelta(days=20)  # after a quarter ends, the foreseen half of its value is in the price
_DIVIDEND_AFTER = timedelta(days=48)  # after a quarter ends, its dividend goes ex
_CLOSE = time(16, 0)
_DEAL_SPREAD = 0.03  # below the cash offered, on the day a takeover is announced
_NOISES = 5  # a session: close, open, high, low, volume


class RawBar(NamedTuple):
    """As traded, USD rounded to cents; volume in shares."""

    symbol: str
    session: date
    open: float
    high: float
    low: float
    close: float
    volume: int


class RawAction(NamedTuple):
    """As in model.market.CorporateAction, by symbol."""

    symbol: str
    session: date
    type: ActionType
    value: float


@dataclass(frozen=True, slots=True)
class TradingHistory:
    """What one company's share did."""

    bars: list[RawBar]
    actions: list[RawAction]


def market_mood(sessions: Sequence[date], seed: int) -> list[float]:
    """The factor that all prices share: around 1, returning to it over a year or so."""
    level, moods = 1.0, []
    for noise in normals(seed, (3,), len(sessions)):
        level += _MARKET_REVERSION * (1 - level) + _MARKET_DAILY * level * noise
        moods.append(level)
    return moods


def trade(
    company: Company,
    quarters: Sequence[Quarter],
    filings: Sequence[Filing],
    sessions: Sequence[date],
    mood: Sequence[float],
    calendar: TradingCalendar,
    seed: int,
) -> TradingHistory:
    """All bars and corporate actions of a company, from the first of `sessions` to the last on which it is listed."""
    noise = normals(seed, (4, company.number), _NOISES * len(sessions))
    dividends = _dividends(company, quarters, sessions, calendar)
    values = _values_a_share(company, quarters, filings, sessions)
    mispricing = _mispricing(company, sessions, noise[0::_NOISES])
    accrued = _accrued_dividends(company, dividends, sessions)
    levels = [
        value * wrong * (1 + company.style.beta * (market - 1)) + dividend
        for value, wrong, market, dividend in zip(values, mispricing, mood, accrued, strict=True)
    ]
    actions = [RawAction(company.symbol, day, ActionType.SPLIT, ratio) for day, ratio in company.splits.items()]
    deal = company.takeover
    if deal is not None:
        levels, offer = _under_offer(company, sessions, levels, noise[0::_NOISES])
        actions.append(RawAction(company.symbol, deal.delisted, ActionType.DELISTING, offer))
        listed = bisect_left(sessions, deal.delisted)
        sessions, levels = sessions[:listed], levels[:listed]
        dividends = {day: amount for day, amount in dividends.items() if day <= sessions[-1]}
    actions += [RawAction(company.symbol, day, ActionType.DIVIDEND, amount) for day, amount in dividends.items()]
    bars = list(_bars(company, quarters, sessions, levels, noise))
    return TradingHistory(bars, sorted(actions))


def _values_a_share(
    company: Company, quarters: Sequence[Quarter], filings: Sequence[Filing], sessions: Sequence[date]
) -> list[float]:
    """Fundamental value in USD a share of the beginning, for each session. What is sudden is not foreseen."""
    worth = [quarter.value * 1000 / quarter.shares for quarter in quarters]
    heard_on = {filing.quarter: _heard_on(filing) for filing in filings}
    filed_on = [heard_on.get(index, quarter.period.end + timedelta(days=40)) for index, quarter in enumerate(quarters)]
    surprises = [any(r.sudden and q.period.start < r.start <= q.period.end for r in company.regimes) for q in quarters]
    foreseen_on = [
        filed if surprise else quarter.period.end + _FORESEEN_AFTER
        for quarter, filed, surprise in zip(quarters, filed_on, surprises, strict=True)
    ]
    values = []
    for session in sessions:
        after = bisect_right(foreseen_on, session)
        way = (session - foreseen_on[after - 1]).days / (foreseen_on[after] - foreseen_on[after - 1]).days
        change = 0.0 if surprises[after] else way * (worth[after] - worth[after - 1])
        filed = worth[max(index for index, day in enumerate(filed_on[: after + 1]) if day <= session)]
        values.append((worth[after - 1] + change + filed) / 2)
    return values


def _heard_on(filing: Filing) -> date:
    """The day on whose close the filing can tell; the next one when it came after the close."""
    accepted = filing.accepted.astimezone(NEW_YORK)
    return accepted.date() + timedelta(days=1) if accepted.time() >= _CLOSE else accepted.date()


def _mispricing(company: Company, sessions: Sequence[date], noise: Sequence[float]) -> list[float]:
    daily = company.style.mispricing_swing * sqrt(2 * _REVERSION)
    level, levels = 1 + company.style.mispricing_swing * noise[0] / 2, []
    for session, shock in zip(sessions, noise, strict=True):
        sentiment = next((s for s in company.sentiments if s.start <= session <= s.end), None)
        towards = sentiment.level if sentiment else 1.0
        pull = _SENTIMENT_REVERSION if sentiment else _REVERSION
        level += pull * (towards - level) + daily * level * shock
        level *= 1 + company.shocks.get(session, 0.0)
        level = max(level, 0.1)
        levels.append(level)
    return levels


def _dividends(
    company: Company, quarters: Sequence[Quarter], sessions: Sequence[date], calendar: TradingCalendar
) -> dict[date, float]:
    """USD a share as of the ex-date, by ex-date: set with the first quarter of a fiscal year, paid four times, in whole cents."""
    paid = {}
    a_share = 0.0
    for quarter in quarters:
        ex_date = calendar.first_after(quarter.period.end + _DIVIDEND_AFTER)
        if quarter.period.number == 1:
            a_share = quarter.dividends / quarter.shares * 1000
        amount = round(a_share / company.split_multiple(ex_date), 2)
        if amount > 0 and sessions[0] <= ex_date <= sessions[-1]:
            paid[ex_date] = amount
    return paid


def _accrued_dividends(company: Company, dividends: dict[date, float], sessions: Sequence[date]) -> list[float]:
    """What of the next dividend is in the price, on the first basis: it builds up evenly and is gone on the ex-date."""
    accrued = [0.0] * len(sessions)
    for before, ex_date in pairwise([sessions[0], *dividends]):
        first, last = bisect_left(sessions, before), bisect_left(sessions, ex_date)
        amount = dividends[ex_date] * company.split_multiple(ex_date)
        for at in range(first, last):
            accrued[at] = amount * (at - first + 1) / (last - first)
    return accrued


def _under_offer(
    company: Company, sessions: Sequence[date], levels: Sequence[float], noise: Sequence[float]
) -> tuple[list[float], float]:
    """Prices once an offer in cash stands, rising to it as the deal comes closer; and the offer, USD a share."""
    deal = company.takeover
    assert deal is not None
    announced, delisted = bisect_left(sessions, deal.announced), bisect_left(sessions, deal.delisted)
    offer = round(levels[announced - 1] * (1 + deal.premium), 2)
    under_offer = [
        offer * (1 - _DEAL_SPREAD * (delisted - at) / (delisted - announced)) * (1 + 0.001 * noise[at])
        for at in range(announced, delisted)
    ]
    return [*levels[:announced], *under_offer, *levels[delisted:]], offer


def _bars(
    company: Company, quarters: Sequence[Quarter], sessions: Sequence[date], levels: Sequence[float], noise: Sequence[float]
) -> Iterator[RawBar]:
    ends = [quarter.period.end for quarter in quarters]
    before = levels[0]
    for at, (session, level) in enumerate(zip(sessions, levels, strict=True)):
        _, open_noise, high_noise, low_noise, volume_noise = noise[_NOISES * at : _NOISES * (at + 1)]
        change = level / before - 1
        overnight = 0.85 if abs(change) > 0.07 else 0.35  # large news comes while the market is closed
        opening = before * (1 + overnight * change + 0.003 * open_noise)
        high = max(opening, level) * (1 + 0.004 * abs(high_noise))
        low = min(opening, level) * (1 - 0.004 * abs(low_noise))
        multiple = company.split_multiple(session)
        shares = shares_outstanding(quarters[bisect_right(ends, session) - 1], multiple)
        interest = max(0.25, 1 + 0.3 * volume_noise) * (1 + 15 * abs(change))
        yield RawBar(
            company.symbol,
            session,
            *(max(0.01, round(price / multiple, 2)) for price in (opening, high, low, level)),
            volume=round(shares * company.turnover * interest),
        )
        before = level
