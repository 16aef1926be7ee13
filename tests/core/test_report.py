"""The whole report of a stored backtest, and its tear sheet, on the small market of tests.markets."""

import re
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from tests.markets import CONFIG, SESSIONS, XNYS, fill_store, run_layers, security_of, tradebot
from tests.scripted import append
from tradebot_core.errors import MissingData, StoreError
from tradebot_core.model.tables import BARS, EQUITY, FILLS, ORDERS, SECURITIES
from tradebot_core.trading import tear_sheet
from tradebot_core.trading.market_review import review, verdicts_at
from tradebot_core.trading.report import Report, _with_reference
from tradebot_core.wiring import BACKTEST, Tradebot

RANGE = SESSIONS[25:]
NAME = "value_investor"


def backtested(folder: Path, sessions=RANGE, text: str = CONFIG) -> Tradebot:
    bot = tradebot(folder, text=text)
    fill_store(bot)
    run_layers(bot, NAME, sessions)
    bot.backtest(NAME, sessions)
    return bot


@pytest.fixture(scope="module")
def bot(tmp_path_factory: pytest.TempPathFactory) -> Tradebot:
    return backtested(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def report(bot: Tradebot) -> Report:
    return bot.report(NAME)


def close(symbol: str, n: int, bot: Tradebot) -> float:
    bars = bot.store.read(BARS, as_of=XNYS.cutoff(SESSIONS[-1]), start=SESSIONS[n], end=SESSIONS[n])
    return bars.filter(security_id=security_of(symbol))["close"][0]


def test_the_profits_of_the_positions_are_the_change_of_equity_to_the_cent(report: Report, bot: Tradebot):
    equity = bot.store.read_results(EQUITY, NAME, BACKTEST)["equity"]
    assert report.attribution.deposits + report.attribution.profit == Decimal(equity[-1])
    fade, good = report.attribution.round_trips
    assert (fade.symbol, fade.closed) == ("FADE", date(2024, 5, 2))  # the session after the filing of 2024-05-01
    assert (good.symbol, good.closed, good.dividends) == ("GOOD", None, Decimal("105.5"))
    assert (report.trades.closed, report.trades.open, report.trades.hit_rate) == (1, 1, 1.0)


def test_slippage_is_five_basis_points_of_what_was_traded(report: Report):
    assert report.costs.slippage == pytest.approx(report.costs.traded * 0.0005, rel=1e-3)
    assert report.costs.trading == pytest.approx(report.costs.slippage + report.performance.commission)


def test_orders_for_the_closing_auction_are_measured_from_the_close(report: Report, bot: Tradebot):
    fills = bot.store.read_results(FILLS, NAME, BACKTEST).with_columns(open=pl.lit(10.0), close=pl.lit(20.0))
    orders = bot.store.read_results(ORDERS, NAME, BACKTEST)
    closing = orders.with_columns(order_type=pl.lit("limit_on_close"))
    assert set(_with_reference(fills, orders)["reference"]) == {10.0}
    assert set(_with_reference(fills, closing)["reference"]) == {20.0}


def test_capacity_is_seen_from_the_volume_of_the_session_of_each_fill(report: Report):
    assert report.capacity.fills == 3
    assert report.capacity.largest_share == pytest.approx(0.00023)  # 230 shares of a million
    assert report.capacity.capital[0].all_fills == pytest.approx(50_000 * 0.01 / 0.00023, rel=0.01)


def test_without_a_benchmark_the_book_is_measured_against_the_universe(report: Report, bot: Tradebot):
    assert report.performance.against == "the universe, equal-weighted, dividends reinvested"
    # All four, bought at the close of the first session, when the book is opened.
    symbols = ("GOOD", "DEAR", "LOSS", "FADE")
    value = [sum(close(s, n, bot) / close(s, 25, bot) for s in symbols) / 4 for n in (25, 26, 27)]
    assert report.curve["benchmark"][:3].to_list() == pytest.approx([50_000 * v for v in value])


def test_a_benchmark_is_a_symbol_of_the_store_with_its_dividends(tmp_path: Path):
    bot = backtested(tmp_path, text=CONFIG + "benchmark: GOOD\n")
    found = bot.report(NAME)
    assert found.performance.against == "GOOD, dividends reinvested"
    last = len(SESSIONS) - 1
    ex = SESSIONS.index(date(2024, 3, 15))
    reinvested = 1 + 0.5 / close("GOOD", ex, bot)
    expected = 2 * close("GOOD", last, bot) / close("GOOD", 25, bot) * reinvested - 1  # a split of 2:1 on the way
    assert found.performance.benchmark_return == pytest.approx(expected)
    assert 0 < found.performance.beta < 1


def test_a_benchmark_nobody_knows_is_named_and_the_universe_takes_its_place(tmp_path: Path):
    bot = backtested(tmp_path, text=CONFIG + "benchmark: SPY\n")
    found = bot.report(NAME)
    assert found.performance.against.startswith("the universe")
    assert any("benchmark SPY is the symbol of no security of the store" in doubt for doubt in found.doubts)
    spy = {"security_id": 77, "cik": 7, "symbol": "SPY", "name": "x", "valid_from": date(2020, 1, 1), "valid_to": date.max}
    append(bot, SECURITIES, dict.fromkeys(SECURITIES.columns) | spy | {"known_at": XNYS.cutoff(SESSIONS[0])})
    assert any("benchmark SPY has no bar in the range" in doubt for doubt in bot.report(NAME).doubts)


def test_layers_are_judged_by_what_they_passed_and_rejected(report: Report, bot: Tradebot):
    screen = report.layers[0]
    assert (screen.layer, screen.horizon, screen.samples) == ("screen", 21, 4)
    sampled = RANGE[0]
    judged = verdicts_at(bot.store, NAME, "screen", [sampled])[sampled]
    assert set(judged.passed) == {security_of("GOOD"), security_of("FADE")}
    assert set(judged.rejected) == {security_of("DEAR"), security_of("LOSS")}
    assert screen.windows == 4 and screen.t is None
    analyze = report.layers[3]
    assert (analyze.layer, analyze.samples, analyze.spread) == ("analyze", 0, None)  # it rejected nothing that screen passed


def test_a_forward_return_begins_at_the_open_after_the_session(bot: Tradebot):
    found = review(bot.store, XNYS, RANGE, None, None, pl.DataFrame(schema={"security_id": pl.Int64, "session": pl.Date}))
    first, second = found.snapshots[:2]
    assert (first.session, second.session) == (RANGE[0], RANGE[21])
    at = list(first.securities).index(security_of("FADE"))
    bars = bot.store.read(BARS, as_of=XNYS.cutoff(SESSIONS[-1]), start=RANGE[1], end=RANGE[1])
    opened = bars.filter(security_id=security_of("FADE"))["open"][0]
    assert second.level[at] / first.entry[at] == pytest.approx(close("FADE", 25 + 21, bot) / opened)


def test_the_store_is_read_a_year_at_a_time(bot: Tradebot):
    class Watched:
        def __init__(self) -> None:
            self.spans: list[tuple[date, date]] = []

        def __getattr__(self, name: str):
            return getattr(bot.store, name)

        def read_versions(self, table, *, as_of, start=None, end=None, **rest):
            self.spans.append((start, end))
            return bot.store.read_versions(table, as_of=as_of, start=start, end=end, **rest)

    store = Watched()
    days = XNYS.sessions(date(2022, 6, 1), date(2024, 6, 28))
    found = review(store, XNYS, days, None, None, pl.DataFrame(schema={"security_id": pl.Int64, "session": pl.Date}))
    assert [(start.year, end.year) for start, end in store.spans] == [(2022, 2022), (2023, 2023), (2024, 2024)]
    assert len(found.universe) == len(days) and found.universe[1] is None  # the store begins in 2024
    assert all(value is not None for value in found.universe[-100:])


def test_how_little_a_short_run_proves_is_said_first(report: Report):
    found = report.performance
    assert report.doubts[0] == (
        f"0.4 years put the Sharpe ratio of {found.sharpe:.2f} between {found.sharpe_low:.2f} and {found.sharpe_high:.2f} with 95 % "
        "confidence (Lo 2002): it cannot be told from 0. It traded in 2 sessions: so many decisions are judged here, and one history."
    )


def test_a_book_that_never_traded_and_one_of_a_single_session_have_nulls(tmp_path: Path):
    bot = backtested(tmp_path / "one", RANGE[:1])
    one = bot.report(NAME)
    assert (one.performance.sessions, one.performance.sharpe, one.performance.beta, one.performance.exposure) == (
        1,
        None,
        None,
        0.0,
    )
    assert (one.trades.hit_rate, one.capacity.median_share, one.costs.slippage) == (None, None, 0.0)
    assert one.attribution.round_trips == () and all(value.spread is None for value in one.layers)
    assert one.doubts[0] == "Nothing moved: there is no Sharpe ratio, and nothing to conclude."
    assert "–" in tear_sheet.page(one)

    idle = CONFIG.replace("max_order_notional: 20000", "max_order_notional: 1")  # every order is refused
    cash = backtested(tmp_path / "cash", RANGE, idle).report(NAME)
    assert (cash.performance.trades, cash.performance.volatility, cash.performance.sharpe, cash.performance.calmar) == (
        0,
        0,
        None,
        None,
    )
    assert (cash.performance.total_return, cash.performance.beta, cash.performance.alpha_t) == (0.0, pytest.approx(0.0), None)
    assert not re.search(r">\s*nan", tear_sheet.page(cash).lower())


def test_there_is_no_report_without_a_backtest(tmp_path: Path):
    with pytest.raises(MissingData, match="There is no backtest of value_investor"):
        tradebot(tmp_path).report(NAME)


def test_all_trials_of_the_idea_are_counted_beside_the_result(tmp_path: Path):
    bot = backtested(tmp_path)
    alone = bot.report(NAME)
    assert (alone.selection.trials, alone.selection.runs, alone.selection.lucky_sharpe) == (1, 1, 0.0)
    assert alone.selection.overfitting is None and set(alone.selection.notes) <= set(alone.doubts)
    bot.sweep([f"{NAME}@max_positions=1"], list(RANGE))
    among = bot.report(NAME)
    assert (among.selection.trials, among.selection.runs) == (2, 2)
    assert among.selection == bot.selection(NAME)
    assert "<td>2 / 2</td>" in tear_sheet.page(among)


# The tear sheet


def test_the_tear_sheet_needs_nothing_else_and_is_the_same_bytes_again(report: Report, bot: Tradebot):
    page = tear_sheet.page(report)
    assert page == tear_sheet.page(bot.report(NAME))
    assert "<script" not in page and "@import" not in page and "url(http" not in page
    assert set(re.findall(r"(?:href|src)=\"([^#\"][^\"]*)\"", page)) == set()
    assert page.count("<svg") == 1 and page.count("<html") == 1


def test_the_tear_sheet_shows_the_figures_and_every_doubt(report: Report):
    page = tear_sheet.page(report)
    cells = re.findall(r"<td>([^<]*)</td>", page)
    assert "50,188" in cells and "0.4 %" in cells and "−2.0 %" in cells
    for doubt in report.doubts:
        assert doubt.replace("'", "&#x27;") in page
    for name in ("Sharpe", "Sortino", "Calmar", "Beta", "Hit rate", "Turnover, a year", "Probability of overfitting"):
        assert name in cells
    assert "FADE" in cells and "held" in cells and "111.34" in cells  # USD that FADE earned


def test_a_name_cannot_become_markup(report: Report):
    trip = replace(report.attribution.round_trips[0], symbol="<b>&")
    odd = replace(report, strategy="a<script>", attribution=replace(report.attribution, round_trips=(trip,)))
    page = tear_sheet.page(odd)
    assert "<script" not in page and "&lt;b&gt;&amp;" in page


def test_of_many_positions_the_best_and_the_worst_are_shown_and_all_are_summed(report: Report):
    trip = report.attribution.round_trips[0]
    many = tuple(replace(trip, symbol=f"T{n}", profit=Decimal(n)) for n in range(100))
    page = tear_sheet.page(replace(report, attribution=replace(report.attribution, round_trips=many)))
    assert "T99<" in page and "T0<" in page and "T50<" not in page
    assert "76 more between" in page and "100 positions" in page and "4,950.00" in page


def test_it_is_written_in_the_stores_folder_or_where_it_is_wanted(report: Report, bot: Tradebot, tmp_path: Path):
    assert bot.write_tear_sheet(report) == bot.config.data_store.path / "reports" / "value_investor.html"
    other = bot.write_tear_sheet(report, tmp_path / "new" / "x.html")
    assert other.read_text() == tear_sheet.page(report) and list(other.parent.iterdir()) == [other]
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="could not be written"):
        bot.write_tear_sheet(report, tmp_path / "file" / "x.html")
