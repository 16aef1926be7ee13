"""A sleeve that trades by LEAN's rules on LEAN's data, through our session loop, risk gate, engine, costs and journal.

Only what decides is LEAN's: how many shares, and when. Prices, fills, commission, corporate actions, cash and valuation are ours.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path

import polars as pl

from tradebot_core.calendar import xnys
from tradebot_core.collectors.file_securities import FileSecurities
from tradebot_core.collectors.lean_actions import LeanActions, read_factors
from tradebot_core.collectors.lean_bars import LeanBars
from tradebot_core.config import CostSettings, RiskSettings
from tradebot_core.execution.simulated import SimulatedEngine
from tradebot_core.interfaces import Situation
from tradebot_core.model.order import OrderIntent, Side, order_key
from tradebot_core.model.portfolio import Book, Entry, EntryKind, usd
from tradebot_core.model.tables import ACTIONS, SECURITIES
from tradebot_core.quant.adjust import Adjustment, adjusted
from tradebot_core.trading.journal import MemoryJournal
from tradebot_core.trading.markets import MarketHistory
from tradebot_core.trading.risk import LimitGate
from tradebot_core.trading.session import LastPrice, send, settle

XNYS = xnys()
NAME = "lean"
# LEAN multiplies prices by factors and does not round; our ledger keeps prices to 1/100 cent. Where the answer needs more digits
# the whole sleeve is kept in thousandths of a dollar: the code is the same, its grid a thousand times as fine.
MILLS = 1000
_PRICES = ("open", "high", "low", "close")
_FREE = Decimal("0.0025")  # LEAN keeps this share of the portfolio uninvested (FreePortfolioValuePercentage)
_SMALLEST = Decimal("0.001")  # and sends no order below this share of it (MinimumOrderMarginPortfolioPercentage)

Wanted = Mapping[int, int]  # signed shares to order, by security
Rule = Callable[[date, Book, Mapping[int, Decimal], Decimal], Wanted]


@dataclass(frozen=True)
class Data:
    """Bars with prices to trade at, and the actions to enter in the ledger."""

    bars: pl.DataFrame
    actions: pl.DataFrame
    symbols: Mapping[int, str]


@dataclass
class Outcome:
    equity: Decimal
    fees: Decimal
    fills: list[tuple[date, str, int]]
    refused: list[tuple[date, str, str]]  # session, symbol, the limit


def securities(folder: Path, text: str) -> pl.DataFrame:
    """The security master of a small CSV."""
    (folder / "securities.csv").write_text(text)
    collector = FileSecurities(FileSecurities.Params(path=folder / "securities.csv"), XNYS)
    (batch,) = collector.collect(pl.DataFrame(schema=SECURITIES.schema), date(1998, 1, 2), date(2021, 3, 31))
    return batch.rows


def raw(lean: Path, master: pl.DataFrame, end: date = date(2021, 3, 31)) -> Data:
    """Prices as they were traded, with every split and dividend."""
    first = date(1998, 1, 2)
    bars = pl.concat([b.rows for b in LeanBars(LeanBars.Params(path=lean), XNYS).collect(master, first, end)])
    actions = [b.rows for b in LeanActions(LeanActions.Params(path=lean), XNYS).collect(master, first, end)]
    symbols = dict(master.sort("valid_from").select("security_id", "symbol").iter_rows())
    return Data(bars, pl.concat(actions), symbols)


def published_factors(lean: Path, data: Data) -> Data:
    """Prices times the factors as the files state them: what LEAN trades at by default. Its ledger sees no action."""
    frames = []
    for security, symbol in data.symbols.items():
        factors = pl.DataFrame(
            [
                (row.day, row.price_factor * row.split_factor)
                for row in read_factors(lean / f"factor_files/{symbol.lower()}.csv")
            ],
            schema={"session": pl.Date, "factor": pl.Float64},
            orient="row",
        )
        bars = data.bars.filter(security_id=security).sort("session")
        frames.append(
            bars.join_asof(factors, on="session", strategy="forward")
            .with_columns(pl.col(*_PRICES) * pl.col("factor"))
            .drop("factor")
        )
    return Data(pl.concat(frames), data.actions.clear(), data.symbols)


def total_view(data: Data, reader: date) -> Data:
    """Our own total-return view of the same bars, from the actions derived from the factor files."""
    view = adjusted(data.bars, data.actions.select(*ACTIONS.columns), reader, Adjustment.TOTAL)
    return Data(view, data.actions.clear(), data.symbols)


class _Clock:
    at: datetime

    def now(self) -> datetime:
        return self.at


class _Market:
    history: MarketHistory

    def open_price(self, security_id: int, session: date) -> float | None:
        return self.history.open_price(security_id, session)

    def traded_range(self, security_id: int, session: date) -> tuple[float, float] | None:
        return self.history.traded_range(security_id, session)

    def voids_orders(self, security_id: int, session: date) -> bool:
        return self.history.voids_orders(security_id, session)


def trade(data: Data, rule: Rule, start: date, end: date, capital: int, unit: int = 1) -> Outcome:
    """Walks the sessions from `start` to `end`; `rule` is asked after each close, its orders fill at the next open."""
    sessions = XNYS.sessions(start, end)
    scaled = data.bars.filter(pl.col("session").is_between(start, end)).with_columns(pl.col(*_PRICES) * unit)
    actions = data.actions.filter(pl.col("session").is_between(start, end)).with_columns(
        value=pl.when(pl.col("type") == "dividend").then(pl.col("value") * unit).otherwise("value")
    )
    history, clock, market = MarketHistory(scaled, actions, {}), _Clock(), _Market()
    market.history = history
    costs = CostSettings(
        commission_per_share=Decimal("0.005") * unit, commission_minimum=Decimal(unit), slippage_bps=0, regulatory_fees=False
    )  # Lean's model of IBKR has no fees on sales
    limits = RiskSettings(
        max_order_notional=10**12, max_order_volume_share=1, max_position_weight=1, cash_buffer=0, max_price_jump=100
    )
    journal, gate = MemoryJournal(Book()), LimitGate(limits)
    engine = SimulatedEngine(market, XNYS, clock, costs)
    journal.post(NAME, [Entry("deposit", start, EntryKind.DEPOSIT, usd(capital * unit))])
    outcome = Outcome(Decimal(0), Decimal(0), [], [])
    for session in sessions:
        clock.at = XNYS.cutoff(session)
        close = history.close(session)
        settle(journal, engine, NAME, close, XNYS.previous(session), clock.now())
        book = journal.book(NAME, session)
        prices = {security: last.price for security, last in close.prices.items()}
        outcome.equity = book.equity(prices)
        wanted = rule(session, book, prices, outcome.equity)
        orders = [_intent(session, security, data.symbols[security], n, close.prices) for security, n in wanted.items() if n]
        priced_on = {security: last.session for security, last in close.prices.items()}
        situation = Situation(
            book, outcome.equity, prices, dict.fromkeys(prices, 1e15), 0, priced_on, prices, peak=outcome.equity
        )
        journal.commit_orders(NAME, session, [(order, gate.check(order, situation)) for order in orders], clock.now())
        for order, state in list(journal.open_orders(NAME)):
            send(journal, engine, NAME, order, state, clock.now())
    outcome.refused = [(o.session, o.symbol, verdict.rule) for o, verdict in journal.intents.values() if not verdict.approved]
    outcome.fills = [(fill.session, fill.symbol, fill.side.sign * fill.quantity) for fill in journal.fills.values()]
    outcome.fees = sum((fill.commission for fill in journal.fills.values()), Decimal(0)) / unit
    outcome.equity /= unit
    return outcome


def _intent(session: date, security: int, symbol: str, shares: int, prices: Mapping[int, LastPrice]) -> OrderIntent:
    side = Side.BUY if shares > 0 else Side.SELL
    key = order_key(NAME, session, security, side)
    return OrderIntent(key, NAME, session, security, symbol, side, abs(shares), prices[security].price)


def shares_to_order(weight: Decimal, equity: Decimal, held: int, price: Decimal, unit: int) -> int:
    """LEAN's sizing of a target weight, fees taken off it (Common/Securities/BuyingPowerModel.cs, in words: the whole shares of
    weight x (99.75 % of equity - fee), and nothing when what is missing, or the order, is below 0.1 % of equity)."""
    if abs(weight * equity * (1 - _FREE) - held * price) < _SMALLEST * equity:
        return 0
    shares = _whole(weight * equity * (1 - _FREE) / price) - held
    fee = max(Decimal(unit), abs(shares) * Decimal("0.005") * unit)
    shares = _whole(weight * (equity * (1 - _FREE) - fee) / price) - held
    return 0 if abs(shares) * price < _SMALLEST * equity else shares


def _whole(shares: Decimal) -> int:
    return int(shares.to_integral_value(ROUND_FLOOR))


def once(weights: Mapping[int, str], unit: int) -> Rule:
    """Buys these weights after the first close, and holds."""

    def rule(session: date, book: Book, prices: Mapping[int, Decimal], equity: Decimal) -> Wanted:
        if book.positions:
            return {}
        return {security: shares_to_order(Decimal(w), equity, 0, prices[security], unit) for security, w in weights.items()}

    return rule


def every_session(weights: Mapping[int, Decimal], unit: int, due: Callable[[date, Book, Decimal], bool]) -> Rule:
    """Restores these weights whenever `due`."""

    def rule(session: date, book: Book, prices: Mapping[int, Decimal], equity: Decimal) -> Wanted:
        if not due(session, book, equity):
            return {}
        held = {security: position.quantity for security, position in book.positions.items()}
        return {
            security: shares_to_order(weight, equity, held.get(security, 0), prices[security], unit)
            for security, weight in weights.items()
        }

    return rule


def first_sessions(symbols: Sequence[str]) -> str:
    """A security master in which each symbol is one company for ever; CIKs are made up."""
    rows = [f"{symbol},{n},{symbol}" for n, symbol in enumerate(symbols, start=1)]
    return "\n".join(["symbol,cik,name", *rows]) + "\n"
