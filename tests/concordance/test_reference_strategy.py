"""QV20, the reference strategy of the speed benchmark, against its reference implementation, fill by fill.

The implementation stands beside the project with its market (TRADEBOT_REFERENCE_BENCH) and is run, not copied. What differs, and why:

- Prices, cash and entries are kept to 1/100 cent here and in floats there, so that the last purchase of a session, which takes the money
  that is left, is now and then one share larger or smaller.
- An order decided before a split is restated there and void here; cash in lieu of fractions is paid at the close of the day here, at that
  of the day before there. Neither occurs to what is held in this market.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from benchmarks.backtests import market as conversion
from tradebot_core import wiring
from tradebot_core.calendar import xnys

BENCH = Path(os.environ.get("TRADEBOT_REFERENCE_BENCH", Path(__file__).parents[2].parent / "shared" / "bench"))

CONFIG = """
data_store: {{path: {store}}}
universe: {{file: {store}/universe.csv}}
allowed_packages: [tradebot_core, benchmarks]
strategies:
  - {{name: qv20, class_path: benchmarks.backtests.qv20.QV20, allocated_capital: 1000000, orders: market_open}}
costs: {{slippage_bps: 5, regulatory_fees: false, commission_maximum_share: 1}}
risk:
  spend_proceeds: true
  max_order_notional: 1000000000
  max_order_volume_share: 1.0
  max_position_weight: 1.0
  max_sector_weight: 1.0
  max_gross_exposure: 1.0
  max_drawdown: 1.0
  max_orders_per_session: 100
  max_account_orders_per_day: 100
  max_unfilled_orders: 100
  max_price_jump: 10
"""


@dataclass(frozen=True)
class Walk:
    """`fills`: t (number of the session), sid, n (negative of a sale), price; `equity` at each close, USD."""

    fills: pl.DataFrame
    equity: list[float]


@pytest.fixture(scope="module")
def market(tmp_path_factory) -> Path:
    if not (BENCH / "ref_polars.py").exists():
        pytest.skip(f"There is no reference implementation at {BENCH}; set TRADEBOT_REFERENCE_BENCH.")
    folder = tmp_path_factory.mktemp("market")
    _run(BENCH / "gen.py", "S", folder)
    return folder


@pytest.fixture(scope="module")
def reference(market, tmp_path_factory) -> Walk:
    folder = tmp_path_factory.mktemp("reference")
    _run(BENCH / "ref_polars.py", market, folder)
    return _read(folder)


@pytest.fixture(scope="module")
def ours(market, tmp_path_factory) -> Walk:
    folder = tmp_path_factory.mktemp("ours")
    conversion.fill(folder, market)
    (folder / "config.yaml").write_text(CONFIG.format(store=folder), encoding="utf-8")
    bot = wiring.load(folder / "config.yaml")
    sessions = xnys().sessions(date(2020, 1, 1), date(2024, 12, 31))
    for layer in ("screen", "analyze"):
        bot.markets.run_layer(bot.sleeve("qv20").strategy, layer, sessions)
    tables = bot.backtest("qv20", sessions)
    at = pl.DataFrame({"session": sessions, "t": range(len(sessions))})
    fills = tables["fills"].join(at, on="session", maintain_order="left")
    signed = pl.when(side="buy").then("quantity").otherwise(-pl.col("quantity"))
    made = fills.select("t", pl.col("security_id") // 100 - 1, signed, pl.col("price").cast(pl.Float64))
    return Walk(
        _typed(made.rename({"security_id": "sid", "quantity": "n"})), tables["equity"]["equity"].cast(pl.Float64).to_list()
    )


def _run(*command: object) -> None:
    done = subprocess.run([sys.executable, "-B", *map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _read(folder: Path) -> Walk:
    equity = pl.read_parquet(folder / "equity.parquet")["equity"].to_list()
    return Walk(_typed(pl.read_parquet(folder / "fills.parquet")), equity)


def _typed(fills: pl.DataFrame) -> pl.DataFrame:
    return fills.select(pl.col("t", "sid", "n").cast(pl.Int64), "price").sort("t", "sid")


def test_every_fill_is_the_reference_s_in_session_security_side_and_price(ours, reference):
    theirs = reference.fills
    assert len(theirs) == 78
    assert ours.fills.select("t", "sid", pl.col("n").sign()).rows() == theirs.select("t", "sid", pl.col("n").sign()).rows()
    assert (ours.fills["price"] - theirs["price"]).abs().max() <= 0.00005 + 1e-9  # half of 1/100 cent


def test_the_number_of_shares_differs_by_one_in_a_few_purchases_that_take_the_last_of_the_money_and_in_their_sales(
    ours, reference
):
    both = ours.fills.join(reference.fills, on=["t", "sid"], suffix="_theirs")
    other = both.filter(pl.col("n") != pl.col("n_theirs"))
    assert (other["n"] - other["n_theirs"]).abs().to_list() == [1] * len(other)
    bought, sold = other.filter(pl.col("n") > 0), other.filter(pl.col("n") < 0)
    assert len(bought) <= 3 and set(sold["sid"]) <= set(bought["sid"])  # what was bought is sold


def test_the_equity_is_the_reference_s_to_a_thousandth_of_a_percent_at_every_close(ours, reference):
    assert len(ours.equity) == len(reference.equity) == 1258
    assert max(abs(a / b - 1) for a, b in zip(ours.equity, reference.equity, strict=True)) < 1e-5
