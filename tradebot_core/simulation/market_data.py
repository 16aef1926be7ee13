"""The fictional market as a broker sees it: listings by contract id, raw daily bars, corporate actions.

Read from the three files of the sample market: `bars.parquet` (symbol, session, open, high, low, close, volume; raw),
`actions.csv` (symbol, session, type, value) and `securities.csv` (symbol, cik, name, exchange, con_id, share_class, industry,
category, valid_from, valid_to).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from pathlib import Path

import polars as pl

from tradebot_core.errors import MissingData
from tradebot_core.model.market import ActionType

BARS_FILE, ACTIONS_FILE, SECURITIES_FILE = "bars.parquet", "actions.csv", "securities.csv"


@dataclass(frozen=True, slots=True)
class Listing:
    con_id: int
    symbol: str
    name: str
    exchange: str
    industry: str
    category: str


@dataclass(frozen=True, slots=True)
class DailyBar:
    session: date
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True, slots=True)
class Action:
    con_id: int
    session: date
    type: ActionType
    value: float


@dataclass(frozen=True)
class MarketData:
    bars: pl.DataFrame
    actions: pl.DataFrame
    securities: pl.DataFrame

    @classmethod
    def read(cls, folder: Path) -> "MarketData":
        missing = [name for name in (BARS_FILE, ACTIONS_FILE, SECURITIES_FILE) if not (folder / name).is_file()]
        if missing:
            raise MissingData(f"{folder} is not a sample market: {', '.join(missing)} missing.", "Generate the market first.")
        return cls(
            bars=pl.read_parquet(folder / BARS_FILE),
            actions=pl.read_csv(folder / ACTIONS_FILE, schema_overrides={"session": pl.Date, "value": pl.Float64}),
            securities=pl.read_csv(
                folder / SECURITIES_FILE,
                schema_overrides={"symbol": pl.String, "valid_from": pl.Date, "valid_to": pl.Date, "con_id": pl.Int64},
            ),
        )

    def listing(self, on: date, *, con_id: int = 0, symbol: str = "") -> Listing | None:
        """What trades on a day under a contract id or a symbol."""
        wanted = pl.col("con_id") == con_id if con_id else pl.col("symbol") == symbol
        found = self._listed.filter(wanted & pl.lit(on).is_between("valid_from", "valid_to")).head(1).to_dicts()
        if not found:
            return None
        row = found[0]
        names = ("symbol", "name", "exchange", "industry", "category")
        return Listing(row["con_id"], *(row[name] or "" for name in names))

    def bar(self, con_id: int, session: date) -> DailyBar | None:
        return self._bars_of.get(con_id, {}).get(session)

    def last_bar(self, con_id: int, until: date) -> DailyBar | None:
        """The bar of `until` or, when it did not trade, of the latest session before."""
        return next((bar for session, bar in reversed(self._bars_of.get(con_id, {}).items()) if session <= until), None)

    def first_session(self, con_id: int) -> date | None:
        return next(iter(self._bars_of.get(con_id, {})), None)

    def split_adjusted_bars(self, con_id: int, first: date, last: date, basis: date) -> Sequence[DailyBar]:
        """Bars on the share count of the day `basis`, as IBKR's TRADES are: splits since then are applied to earlier bars."""
        splits = [
            action
            for action in self._actions
            if (action.con_id, action.type) == (con_id, ActionType.SPLIT) and action.session <= basis
        ]
        adjusted = []
        for bar in self._bars_of.get(con_id, {}).values():
            if not first <= bar.session <= last:
                continue
            ratio = 1.0
            for split in splits:
                if split.session > bar.session:
                    ratio *= split.value
            adjusted.append(_divided(bar, ratio) if ratio != 1.0 else bar)
        return adjusted

    def actions_on(self, session: date) -> Sequence[Action]:
        """Splits first: a dividend of the same day is paid on the shares held after it, as in the ledger."""
        return sorted((a for a in self._actions if a.session == session), key=lambda a: a.type is not ActionType.SPLIT)

    def with_action(self, symbol: str, session: date, kind: ActionType, value: float) -> "MarketData":
        """The market as it is with one more action of the share that bears a symbol on that session; where none does, as it is. A split
        divides the share's raw prices from its session on."""
        listing = self.listing(session, symbol=symbol)
        if listing is None:
            return self
        con_id = listing.con_id
        bars = self._bars_of.get(con_id, {})
        if kind is ActionType.SPLIT:
            bars = {day: _divided(bar, value) if day >= session else bar for day, bar in bars.items()}
        changed = replace(self)
        # Over what is read of the files, which takes seconds for a large market.
        changed.__dict__["_listed"] = self._listed
        changed.__dict__["_bars_of"] = {**self._bars_of, con_id: bars}
        changed.__dict__["_actions"] = (*self._actions, Action(con_id, session, kind, value))
        return changed

    @cached_property
    def _listed(self) -> pl.DataFrame:
        return self.securities.with_columns(
            pl.col("valid_from").fill_null(date.min), pl.col("valid_to").fill_null(date.max)
        ).sort("con_id", "valid_from")

    def _by_contract(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows under a symbol, given to the contract that bore the symbol that day (a symbol may pass to another issuer)."""
        bearers = self._listed.select(
            "symbol", "con_id", "valid_from", "valid_to", (pl.col("con_id").n_unique().over("symbol") == 1).alias("only")
        )
        return (
            rows.join(bearers, on="symbol", how="inner")
            .filter(pl.col("only") | pl.col("session").is_between("valid_from", "valid_to"))
            .unique(subset=[*rows.columns, "con_id"])
            .sort("con_id", "session")
        )

    @cached_property
    def _bars_of(self) -> dict[int, dict[date, DailyBar]]:
        found: dict[int, dict[date, DailyBar]] = {}
        columns = ("con_id", "session", "open", "high", "low", "close", "volume")
        for con_id, session, *numbers in self._by_contract(self.bars).select(columns).iter_rows():
            found.setdefault(con_id, {})[session] = DailyBar(session, *numbers)
        return found

    @cached_property
    def _actions(self) -> tuple[Action, ...]:
        rows = self._by_contract(self.actions).select("con_id", "session", "type", "value").iter_rows()
        return tuple(Action(con_id, session, ActionType(kind), value) for con_id, session, kind, value in rows)


def _divided(bar: DailyBar, ratio: float) -> DailyBar:
    return DailyBar(bar.session, bar.open / ratio, bar.high / ratio, bar.low / ratio, bar.close / ratio, bar.volume * ratio)
