"""How much of the market the trades took, and what they cost."""

from datetime import timedelta

import polars as pl
import pytest

from tests.markets import FIRST
from tradebot_core.model.tables import ENTRIES, EQUITY
from tradebot_core.quant.capacity import capacity
from tradebot_core.quant.cost_split import cost_split


def fills(*rows: tuple[str, str, int, str, float | None, float | None, float]) -> pl.DataFrame:
    """(symbol, side, quantity, price, reference, volume, equity before)"""
    names = ["symbol", "side", "quantity", "price", "reference", "volume", "equity"]
    kinds = [pl.String, pl.String, pl.Int64, pl.String, pl.Float64, pl.Float64, pl.Float64]
    return pl.DataFrame(list(rows), schema=dict(zip(names, kinds, strict=True)), orient="row")


def entries(**cash: str) -> pl.DataFrame:
    return pl.DataFrame(
        [dict.fromkeys(ENTRIES.schema) | {"kind": kind, "cash": c} for kind, c in cash.items()], schema=ENTRIES.schema
    )


def equity(*values: str) -> pl.DataFrame:
    rows = [
        {"session": FIRST + timedelta(days=n), "cash": "0", "invested": "0", "equity": v, "positions": 0}
        for n, v in enumerate(values)
    ]
    return pl.DataFrame(rows, schema=EQUITY.schema)


def test_capital_at_a_limit_is_equity_times_limit_over_share():
    found = capacity(
        fills(
            ("BIG", "buy", 100, "10", 10, 100_000.0, 50_000),  # 0.1 % of the volume: ten times as much is 1 %
            ("SMALL", "buy", 10, "10", 10, 1_000.0, 50_000),  # 1 %, and a twentieth of the value
            ("BIG", "sell", 90, "10", 10, 90_000.0, 60_000),  # 0.1 %
        )
    )
    assert (found.fills, found.without_volume, found.largest_symbol) == (3, 0, "SMALL")
    assert (found.median_share, found.largest_share) == (pytest.approx(0.001), pytest.approx(0.01))
    assert found.share_95 == pytest.approx(0.001 + 0.9 * 0.009)
    one, five, ten = found.capital
    assert (one.limit, one.all_fills) == (0.01, pytest.approx(50_000))  # SMALL was at the limit already
    assert one.nine_tenths == pytest.approx(500_000)  # without that twentieth of the value, BIG decides
    assert (five.all_fills, ten.all_fills) == (pytest.approx(250_000), pytest.approx(500_000))


def test_fills_without_volume_are_counted_and_not_guessed():
    found = capacity(fills(("A", "buy", 1, "10", 10, None, 100), ("B", "buy", 1, "10", 10, 0.0, 100)))
    assert (found.fills, found.without_volume, found.median_share) == (0, 2, None)
    assert [at.all_fills for at in found.capital] == [None, None, None]
    assert capacity(fills()).fills == 0


def test_slippage_is_what_fills_paid_beyond_the_open_on_either_side():
    traded = fills(("A", "buy", 100, "10.05", 10, 1e6, 1000), ("A", "sell", 100, "11.90", 12, 1e6, 1000))
    booked = entries(deposit="1000", trade="185", commission="-2.5", dividend="7", interest="0.5", split="0", cash_in_lieu="3")
    found = cost_split(booked, traded, equity("1000", "1200"))
    assert found.entries == {"commission": -2.5, "dividend": 7.0, "interest": 0.5}
    assert found.slippage == pytest.approx(5 + 10)
    assert found.trading == pytest.approx(17.5)
    assert found.traded == pytest.approx(2195.0) and found.trading_of_traded == pytest.approx(17.5 / 2195)
    assert found.trading_per_year == pytest.approx(17.5 / 1100 * 252 / 2)


def test_fees_are_part_of_the_cost_of_trading_and_an_unknown_reference_makes_it_unknown():
    found = cost_split(entries(commission="-1", regulatory_fee="-0.5"), fills(), equity("100"))
    assert (found.slippage, found.trading, found.trading_of_traded) == (0.0, 1.5, None)
    unknown = cost_split(entries(commission="-1"), fills(("A", "buy", 1, "10", None, None, 100)), equity("100"))
    assert (unknown.slippage, unknown.trading, unknown.trading_per_year, unknown.fills_without_reference) == (
        None,
        None,
        None,
        1,
    )


def test_a_book_without_a_session_or_a_trade_costs_nothing():
    found = cost_split(entries(), fills(), equity())
    assert (found.entries, found.slippage, found.trading, found.trading_per_year) == ({}, 0.0, 0.0, None)
