"""Replay: the stored events, one by one through the event bus, must lead to the decisions that the tables hold.

The strategy hears only events (Strategy.on_event); at each session's close its layers are evaluated on what it remembers, and
its book takes one step. Any difference from the stored verdicts and decisions is reported by layer, session and security.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.config import DATA_CHECKS_ON, QualitySettings
from tradebot_core.model.event import Event, EventType
from tradebot_core.model.market import SessionClose
from tradebot_core.model.tables import ACTIONS
from tradebot_core.strategy import Strategy
from tradebot_core.trading.backtest import Backtest, BacktestWalk
from tradebot_core.trading.event_bus import EventBus
from tradebot_core.trading.industries import Industries
from tradebot_core.trading.late_actions import late_words
from tradebot_core.trading.layers import evaluate_layers
from tradebot_core.trading.markets import MarketHistory, closes_of, volumes_in
from tradebot_core.trading.outsiders import Outsiders
from tradebot_core.trading.universe import divided


@dataclass(frozen=True)
class Difference:
    """A row that one side has and the other has not, or has otherwise."""

    table: str
    session: date
    symbol: str
    stored: str
    replayed: str


@dataclass(frozen=True)
class Replay:
    events: int
    layers: Mapping[str, pl.DataFrame]
    walk: Backtest


def replay(
    strategy: Strategy,
    walk: BacktestWalk,
    events: Iterable[Event],
    start: date,
    calendar: TradingCalendar,
    members: pl.DataFrame | None,
    quality: QualitySettings = DATA_CHECKS_ON,
) -> Replay:
    """Feeds `events` (in order; those before `start` only inform) to the strategy and walks its book from `start`.

    `members`: StoredMarkets.members."""
    bus = EventBus()
    bus.subscribe(strategy.name, strategy.subscriptions, strategy.on_event)
    seen: dict[str, list[pl.DataFrame]] = {layer.name: [] for layer in strategy.layers()}

    def close(event: Event) -> None:
        assert isinstance(event.payload, SessionClose)
        session = event.payload.session
        if session < start:
            return
        memory = strategy.memory
        panel, outside = divided(memory.panel(session, calendar), members)
        verdicts = evaluate_layers(strategy, panel, quality)
        heard = memory.bars
        bars = _one_of_each(heard.filter(pl.col("session") == session))
        previous = calendar.previous(session)
        # As they stood at their own cut-off, like every bar of an earlier session.
        seen_then = (pl.col("session") == previous) & (pl.col("known_at") <= calendar.cutoff(previous))
        before = closes_of(_one_of_each(heard.filter(seen_then)))
        versions = memory.actions
        actions = (
            versions.filter(session=session)
            .sort("known_at", "ingested_at")
            .unique(ACTIONS.key, keep="last", maintain_order=True)
        )
        late = late_words(versions, [session], calendar)
        outsiders = Outsiders(strategy, partial(_of_security, outside), quality)
        volume_of = volumes_in(pl.concat([panel, outside]))
        industries = Industries(memory.securities, calendar)
        walk.step(session, MarketHistory(bars, actions, verdicts, late, outsiders, before, industries, volume_of))
        for name, rows in verdicts.items():
            seen[name].append(rows)

    bus.subscribe("session close", (EventType.SESSION_CLOSE,), close)
    count = 0
    for event in events:
        bus.publish(event)
        count += 1
    return Replay(count, {name: pl.concat(frames) for name, frames in seen.items() if frames}, walk.result())


def _of_security(rows: pl.DataFrame, security: int) -> pl.DataFrame:
    return rows.filter(security_id=security)


def _one_of_each(bars: pl.DataFrame) -> pl.DataFrame:
    """Of each security's bars the one heard last."""
    return bars.unique("security_id", keep="last", maintain_order=True)


def differences(table: str, stored: pl.DataFrame, replayed: pl.DataFrame) -> list[Difference]:
    """Row by row, exactly: floats bit for bit."""
    key = ["session", "security_id"]
    theirs = {tuple(row[k] for k in key): row for row in stored.iter_rows(named=True)}
    ours = {tuple(row[k] for k in key): row for row in replayed.iter_rows(named=True)}
    return [
        Difference(table, at[0], (theirs.get(at) or ours[at])["symbol"], str(theirs.get(at)), str(ours.get(at)))
        for at in sorted(theirs.keys() | ours.keys())
        if repr(theirs.get(at)) != repr(ours.get(at))
    ]
