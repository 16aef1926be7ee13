"""Small markets for tests: a store filled with a few companies whose figures are easy to reason about."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from tradebot_core.calendar import xnys
from tradebot_core.clock import FixedClock
from tradebot_core.config import Config, load_config
from tradebot_core.interfaces import Batch
from tradebot_core.model.security import security_id_of
from tradebot_core.model.tables import ACTIONS, BARS, FUNDAMENTALS, SECURITIES
from tradebot_core.wiring import Tradebot, build

XNYS = xnys()
SYMBOLS = ("GOOD", "DEAR", "LOSS", "FADE")
FIRST = date(2024, 1, 2)
SESSIONS = tuple(XNYS.sessions(FIRST, date(2024, 6, 28)))
# The first session with twenty bars behind it.
START = SESSIONS[25]

CONFIG = """\
mode: paper
data_store: {{backend: file, path: {store}}}
first_session: 2024-01-02
strategies:
  - name: value_investor
    class_path: tradebot_core.strategies.value_investor.ValueInvestor
    allocated_capital: 50000
    params: {{max_positions: 4, min_score: 0.3}}
  - name: quality_growth
    class_path: tradebot_core.strategies.quality_growth.QualityGrowth
    allocated_capital: 30000
    params: {{max_positions: 3}}
risk: {{max_order_notional: 20000, max_position_weight: 0.4}}
"""


def cik_of(symbol: str) -> int:
    return 9_900_000_001 + SYMBOLS.index(symbol)


def security_of(symbol: str) -> int:
    return security_id_of(cik_of(symbol))


def write_config(folder: Path, text: str = CONFIG) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(text.format(store=folder / "store"))
    return path


def tradebot(folder: Path, now: datetime | None = None, text: str = CONFIG) -> Tradebot:
    """A Tradebot on an empty store, whose clock stands at `now` (default: after the last session)."""
    path = write_config(folder, text)
    bot = build(load_config(path), path)
    return at(bot, now or XNYS.cutoff(SESSIONS[-1]) + timedelta(hours=1))


def at(bot: Tradebot, now: datetime) -> Tradebot:
    """The same Tradebot at another time."""
    fields = {name: getattr(bot, name) for name in bot.__dataclass_fields__}
    return Tradebot(**{**fields, "clock": FixedClock(now)})


def fill_store(bot: Tradebot, sessions: Sequence[date] = SESSIONS) -> None:
    """Four companies: GOOD is cheap, profitable and growing; DEAR is the same at five times the price; LOSS loses money; FADE
    is like GOOD until its filing of 2024-05-01 shows a loss. A 2:1 split of GOOD on 2024-04-15, dividends of GOOD."""
    ingested = datetime(2024, 1, 1, tzinfo=UTC)
    known = datetime(2023, 1, 1, tzinfo=UTC)
    names = [
        {
            "security_id": security_of(symbol),
            "cik": cik_of(symbol),
            "symbol": symbol,
            "name": f"{symbol} (test)",
            "exchange": "TEST",
            "con_id": None,
            "industry": None,
            "category": None,
            "valid_from": date(2020, 1, 1),
            "valid_to": date.max,
            "known_at": known,
        }
        for symbol in SYMBOLS
    ]
    _append(bot, SECURITIES, names, ingested)
    _append(bot, BARS, [bar(symbol, n, session) for symbol in SYMBOLS for n, session in enumerate(sessions)], ingested)
    actions = [("GOOD", date(2024, 4, 15), "split", 2.0), ("GOOD", date(2024, 3, 15), "dividend", 0.5)]
    _append(
        bot,
        ACTIONS,
        [
            {
                "security_id": security_of(symbol),
                "session": session,
                "type": kind,
                "value": value,
                "known_at": XNYS.opens_at(session) - timedelta(hours=9),
            }
            for symbol, session, kind, value in actions
        ],
        ingested,
    )
    filings = [filing(symbol, date(2023, 12, 31), datetime(2024, 1, 15, 12, tzinfo=UTC)) for symbol in SYMBOLS]
    filings.append(filing("FADE", date(2024, 3, 31), datetime(2024, 5, 1, 12, tzinfo=UTC), net_income_ttm=-1e8))
    _append(bot, FUNDAMENTALS, filings, ingested)


def bar(symbol: str, n: int, session: date) -> dict[str, object]:
    price = {"GOOD": 60.0, "DEAR": 300.0, "LOSS": 20.0, "FADE": 55.0}[symbol] * (1 + 0.02 * ((n * 7) % 5 - 2) / 2)
    if symbol == "GOOD" and session >= date(2024, 4, 15):
        price /= 2
    price = round(price, 2)
    return {
        "security_id": security_of(symbol),
        "session": session,
        "open": price,
        "high": price + 1,
        "low": price - 1,
        "close": round(price + 0.25, 2),
        "volume": 1_000_000.0 + 1000 * (n % 7),
        "known_at": XNYS.closes_at(session) + timedelta(minutes=15),
    }


def filing(symbol: str, period_end: date, known_at: datetime, **changed: float | None) -> dict[str, object]:
    figures: dict[str, float | None] = {
        "revenue_ttm": 5e9,
        "gross_profit_ttm": 2e9,
        "operating_income_ttm": 1e9,
        "net_income_ttm": -2e8 if symbol == "LOSS" else 7e8,
        "operating_cash_flow_ttm": 1e9,
        "capital_expenditure_ttm": 2e8,
        "free_cash_flow_ttm": 8e8,
        "revenue_ttm_1y": 4.5e9,
        "revenue_ttm_3y": 4e9,
        "assets": 6e9,
        "current_assets": 2e9,
        "liabilities": 3e9,
        "current_liabilities": 1e9,
        "equity": 3e9,
        "cash": 5e8,
        "debt": 1e9,
        "shares_outstanding": 1e8,
        **changed,
    }
    row = dict.fromkeys(FUNDAMENTALS.columns) | figures
    return row | {
        "cik": cik_of(symbol),
        "company_name": f"{symbol} (test)",
        "period_end": period_end,
        "form": "10-K",
        "accession": f"{cik_of(symbol):010d}-{known_at:%y}-{known_at:%m%d%H}",
        "shares_basis_date": known_at.date(),
        "provenance": "{}",
        "known_at": known_at,
    }


def run_layers(bot: Tradebot, strategy: str, sessions: Sequence[date]) -> None:
    for layer in bot.sleeve(strategy).strategy.layers():
        bot.markets.run_layer(bot.sleeve(strategy).strategy, layer.name, sessions)


def _append(bot: Tradebot, table, rows, ingested) -> None:
    schema = {**table.columns, "known_at": table.schema["known_at"]}
    bot.store.append(Batch(table, pl.DataFrame(rows, schema=schema), "test"), ingested)


def config_of(folder: Path) -> Config:
    return load_config(folder / "config.yaml")
