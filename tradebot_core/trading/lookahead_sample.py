"""Which sessions the look-ahead gate looks at when it does not look at all: where a leak is likeliest, then any.

A leak shows where what comes next differs from what is known: in the session before a filing, a restatement, a split or a
delisting of what was decided about, before a trade, and at both ends of a range.
"""

import random
from collections.abc import Mapping, Sequence
from datetime import date

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.interfaces import DataStore
from tradebot_core.model.keyed_rows import in_order, is_last_of
from tradebot_core.model.market import ActionType
from tradebot_core.model.tables import ACTIONS, DECISIONS, FUNDAMENTALS, INSTANT, ORDERS, SECURITIES
from tradebot_core.trading.order_trail import BACKTEST

ANY, CHOSEN = "at random", "chosen"
_OF_FILINGS = ("cik", "known_at", "ingested_at", "period_end")


def sample(
    store: DataStore, calendar: TradingCalendar, strategy: str, sessions: Sequence[date], most: int | None, seed: int = 0
) -> dict[date, str]:
    """At most `most` of the strategy's backtested `sessions` (ascending; all when None) with why each was chosen, ascending.

    The same store, sessions and seed give the same sample.
    """
    if most is None or most >= len(sessions):
        return dict.fromkeys(sessions, "all")
    chance = random.Random(f"{strategy} {seed}")
    chosen = {sessions[-1]: "the last"} | ({sessions[0]: "the first"} if most > 1 else {})
    kinds = [(why, chance.sample(found, len(found))) for why, found in _likely(store, calendar, strategy, sessions).items()]
    while len(chosen) < most and any(found for _, found in kinds):
        for why, found in kinds:
            if found and len(chosen) < most:
                chosen.setdefault(found.pop(), why)
    rest = [session for session in sessions if session not in chosen]
    chosen |= dict.fromkeys(chance.sample(rest, most - len(chosen)), ANY)
    return dict(sorted(chosen.items()))


def _likely(
    store: DataStore, calendar: TradingCalendar, strategy: str, sessions: Sequence[date]
) -> Mapping[str, Sequence[date]]:
    """By reason, the sessions in which a strategy that sees the future would decide otherwise, ascending: of what it decided about,
    or of any company where there is none such."""
    until = calendar.cutoff(calendar.next(sessions[-1]))
    decided = (
        store.read_results(DECISIONS, strategy, BACKTEST, sessions[0], sessions[-1]).select("session", "security_id").unique()
    )
    issuers = store.read(SECURITIES, as_of=until).select("security_id", "cik").unique()
    of_issuer = decided.join(issuers, on="security_id").select("session", "cik").unique()
    unused = [name for name in FUNDAMENTALS.schema if name not in _OF_FILINGS]
    filings = (
        in_order(store.read_versions(FUNDAMENTALS, as_of=until, without=unused), ["cik", "known_at", "ingested_at"])
        .filter(is_last_of(["cik", "known_at"]))
        .with_columns(
            restates=(pl.col("cik") == pl.col("cik").shift(1)) & (pl.col("period_end") == pl.col("period_end").shift(1))
        )
        .filter(pl.col("known_at") > calendar.cutoff(sessions[0]))
    )
    filed = _session_before(filings, sessions, calendar)
    actions = store.read(ACTIONS, as_of=until, start=sessions[0], end=calendar.next(sessions[-1]))
    acted = actions.with_columns(
        session=pl.col("session").replace_strict({calendar.next(s): s for s in sessions}, default=None, return_dtype=pl.Date)
    ).drop_nulls("session")
    orders = store.read_results(ORDERS, strategy, BACKTEST, sessions[0], sessions[-1])
    found = {
        "before a restatement": _preferred(filed.filter("restates"), of_issuer),
        "before a filing": _preferred(filed.filter(~pl.col("restates")), of_issuer),
        "before a split": _preferred(acted.filter(type=str(ActionType.SPLIT)), decided),
        "before a delisting": _preferred(acted.filter(type=str(ActionType.DELISTING)), decided),
        "before a trade": orders.filter("approved"),
    }
    return {why: rows["session"].unique().sort().to_list() for why, rows in found.items()}


def _preferred(rows: pl.DataFrame, decided: pl.DataFrame) -> pl.DataFrame:
    of_decided = rows.join(decided, on=decided.columns, how="semi")
    return rows if of_decided.is_empty() else of_decided


def _session_before(rows: pl.DataFrame, sessions: Sequence[date], calendar: TradingCalendar) -> pl.DataFrame:
    """The rows that became known between the cut-offs of a session and of the one after it, with that `session`."""
    cutoffs = pl.DataFrame(
        {
            "session": sessions,
            "after": [calendar.cutoff(session) for session in sessions],
            "until": [calendar.cutoff(calendar.next(session)) for session in sessions],
        },
        schema={"session": pl.Date, "after": INSTANT, "until": INSTANT},
    ).sort("after")
    return (
        rows.sort("known_at")
        .join_asof(cutoffs, left_on="known_at", right_on="after", allow_exact_matches=False)
        .filter(pl.col("known_at") <= pl.col("until"))
        .drop("until")
    )
