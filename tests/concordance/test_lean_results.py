"""Five results that LEAN publishes for its regression algorithms, walked through our session loop on LEAN's data.

Four are reproduced to the cent; for the fifth the difference is stated with its reason. Where our rules differ on purpose
(whole shares at raw prices, dividends as cash, no margin), the result of our own ledger stands beside it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from tests.concordance.lean_desk import (
    MILLS,
    Data,
    Outcome,
    Rule,
    every_session,
    first_sessions,
    once,
    published_factors,
    raw,
    securities,
    total_view,
    trade,
)
from tests.real_data import REAL_DATA

D = Decimal
SEVEN = ("AAPL", "IBM", "FB", "SPY", "AIG", "BAC", "BNO")
GOOGLE = "symbol,cik,name,share_class,valid_from,valid_to\nGOOG,1,A,0,2004-08-19,2014-04-02\nGOOGL,1,A,0,2014-04-03,\n"
LAST_OF_DATA = date(2021, 3, 31)  # LEAN's factors are stated as of then


@dataclass(frozen=True)
class Algorithm:
    """One published result. `ours` is what our ledger says of the same rule at raw prices with cash dividends."""

    file: str
    symbols: tuple[str, ...]
    start: date
    end: date
    capital: int
    ours: str
    why_ours_differs: str


BASIC = Algorithm(
    "BasicTemplateDailyAlgorithm",
    ("SPY",),
    date(2013, 10, 8),
    date(2013, 10, 17),
    100_000,
    "104481.89",
    "At raw prices 100,000 USD buy 602 shares at 165.82; at prices scaled for the dividends to come, 697 at 143.37.",
)
TICKETS = Algorithm(
    "SetHoldingReturnsOrderTicketsRegressionAlgorithm",
    ("SPY", "IBM"),
    date(2018, 1, 4),
    date(2018, 1, 10),
    100_000,
    "100661.26",  # 100,661.2550
    "293 and 123 whole shares at raw prices instead of 311 and 144 at scaled ones.",
)
HOLD = Algorithm(
    "FreePortfolioValueRegressionAlgorithm",
    ("SPY",),
    date(2007, 10, 1),
    date(2018, 2, 1),
    1_000_000,
    "2252377.81",
    "Dividends come as cash and are reinvested at the next open, in 42 more orders; scaled prices reinvest them at the close before "
    "the ex-date, in fractions and without commission.",
)
RAW = Algorithm(
    "RawDataRegressionAlgorithm",
    ("GOOG", "GOOGL"),
    date(2014, 3, 25),
    date(2014, 4, 7),
    100_000,
    "93054.50",
    "It does not: raw prices and a split in the ledger are our way too.",
)
MONDAYS = Algorithm(
    "PortfolioRebalanceOnCustomFuncRegressionAlgorithm",
    SEVEN,
    date(2015, 1, 2),  # LEAN names 2015-01-01 to 2018-01-01, both holidays
    date(2017, 12, 29),
    100_000,
    "146083.89",
    "Whole shares at raw prices, cash dividends, and no purchase on margin.",
)


@pytest.fixture(scope="module")
def published() -> Mapping[str, Mapping[str, str]]:
    path = REAL_DATA / "expected" / "lean_expected_statistics.json"
    if not path.is_file():
        pytest.skip(f"no real data at {REAL_DATA}; set TRADEBOT_REAL_DATA")
    found = json.loads(path.read_text())["algorithms"]
    return {Path(entry["algorithm"]).stem: entry["expected"] for entry in found}


@pytest.fixture(scope="module")
def lean(published, tmp_path_factory):
    """The data of an algorithm, raw, read by the collectors."""
    folder = tmp_path_factory.mktemp("lean")

    def data_of(algorithm: Algorithm) -> Data:
        master = GOOGLE if algorithm is RAW else first_sessions(algorithm.symbols)
        return raw(REAL_DATA / "lean", securities(folder, master))

    return data_of


def rule_of(algorithm: Algorithm, data: Data, unit: int) -> Rule:
    ids = {symbol: security for security, symbol in data.symbols.items()}
    if algorithm is BASIC:
        return once({ids["SPY"]: "1"}, unit)
    if algorithm is RAW:
        return once({ids["GOOGL"]: "1"}, unit)
    if algorithm is TICKETS:
        return once({ids["SPY"]: "0.8", ids["IBM"]: "0.2"}, unit)
    if algorithm is HOLD:
        return every_session({ids["SPY"]: D(1)}, unit, lambda session, book, equity: True)
    return every_session(dict.fromkeys(ids.values(), D(1) / 7), unit, monday_of_deviation)


def monday_of_deviation(session: date, book, equity: Decimal) -> bool:
    """On Mondays, at first, and when what the holdings lack of their equal shares sums to 1.5 % of one."""
    return session.weekday() == 0 and (not book.positions or len(book.positions) * book.cash / equity >= D("0.015"))


def at_published_prices(algorithm: Algorithm, data: Data) -> Outcome:
    """With prices times LEAN's factors, as its algorithms trade unless they ask for raw ones."""
    scaled = published_factors(REAL_DATA / "lean", data)
    rule = rule_of(algorithm, data, MILLS)
    return trade(scaled, rule, algorithm.start, algorithm.end, algorithm.capital, MILLS)


def cents(amount: Decimal) -> str:
    return str(amount.quantize(D("0.01")))


def of_statistics(expected: Mapping[str, str]) -> tuple[str, str, int]:
    return cents(D(expected["End Equity"])), expected["Total Fees"].removeprefix("$"), int(expected["Total Orders"])


def as_published(outcome: Outcome) -> tuple[str, str, int]:
    # Half a cent of fees is rounded up by LEAN: 3.485 is written 3.49.
    return cents(outcome.equity), str(outcome.fees.quantize(D("0.01"), "ROUND_HALF_UP")), len(outcome.fills)


@pytest.mark.parametrize("algorithm", [BASIC, TICKETS, HOLD], ids=lambda a: a.file)
def test_equity_fees_and_number_of_orders_are_the_published_ones(algorithm, published, lean):
    outcome = at_published_prices(algorithm, lean(algorithm))
    assert as_published(outcome) == of_statistics(published[algorithm.file])
    assert outcome.refused == []


def test_the_shares_bought_are_those_that_lean_buys(published, lean):
    def fills(algorithm: Algorithm) -> list[tuple[date, str, int]]:
        return at_published_prices(algorithm, lean(algorithm)).fills

    assert fills(BASIC) == [(date(2013, 10, 9), "SPY", 697)]
    assert fills(TICKETS) == [(date(2018, 1, 5), "SPY", 311), (date(2018, 1, 5), "IBM", 144)]
    assert fills(HOLD) == [
        (date(2007, 10, 2), "SPY", 8491),
        (date(2008, 11, 20), "SPY", 9),  # cash is 0.1 % of equity too much after the fall
        (date(2011, 2, 7), "SPY", -9),  # and too little after the rises
        (date(2014, 11, 28), "SPY", -9),
    ]


def test_raw_prices_through_the_class_split_are_the_published_result(published, lean):
    """86 shares of GOOG become 172 of GOOGL, by an entry in the ledger derived from the factor file."""
    outcome = trade(lean(RAW), rule_of(RAW, lean(RAW), 1), RAW.start, RAW.end, RAW.capital)
    assert as_published(outcome) == of_statistics(published[RAW.file]) == ("93054.50", "1.00", 1)
    assert outcome.fills == [(date(2014, 3, 26), "GOOGL", 86)]


def test_our_own_total_return_view_of_the_same_bars_leads_to_the_same_cent(lean):
    """Prices adjusted by the dividends that we derive from the factor files, instead of by the factors as they are written."""
    for algorithm, equity in ((BASIC, "104486.22"), (TICKETS, "100661.71")):
        data = lean(algorithm)
        view = total_view(data, LAST_OF_DATA)
        outcome = trade(view, rule_of(algorithm, data, MILLS), algorithm.start, algorithm.end, algorithm.capital, MILLS)
        assert cents(outcome.equity) == equity
    # Over ten years the seventh decimal of LEAN's factors moves one order of nine shares by three sessions: 39 cents.
    data = lean(HOLD)
    outcome = trade(total_view(data, LAST_OF_DATA), rule_of(HOLD, data, MILLS), HOLD.start, HOLD.end, HOLD.capital, MILLS)
    assert cents(outcome.equity) == "2254609.80"
    assert outcome.fills[-1] == (date(2014, 11, 25), "SPY", -9)


def test_on_a_grid_of_a_hundredth_cent_scaled_prices_cost_cents(lean):
    """Why the desk counts in thousandths of a dollar: LEAN does not round prices, and 697 x 0.00003 is two cents."""
    data = lean(BASIC)
    outcome = trade(published_factors(REAL_DATA / "lean", data), rule_of(BASIC, data, 1), BASIC.start, BASIC.end, BASIC.capital)
    assert cents(outcome.equity) == "104486.24"


@pytest.mark.parametrize("algorithm", [BASIC, TICKETS, HOLD, RAW, MONDAYS], ids=lambda a: a.file)
def test_our_ledger_at_raw_prices_differs_for_the_stated_reason(algorithm, published, lean):
    data = lean(algorithm)
    outcome = trade(data, rule_of(algorithm, data, 1), algorithm.start, algorithm.end, algorithm.capital)
    theirs = D(published[algorithm.file]["End Equity"])
    assert abs(outcome.equity - D(algorithm.ours)) <= D("0.005"), algorithm.why_ours_differs
    assert abs(outcome.equity / theirs - 1) < D("0.002")  # by design, and never far


def test_the_mondays_are_not_reproduced_to_the_cent(published, lean):
    """Published: 145,958.59 after 16 orders for 24.50 USD.

    The first seven orders are LEAN's: their commission of 15.50 and nine orders at the minimum of 1.00 make the 24.50. Held to
    the end they are worth 146,210.52, which is 251.93 (0.17 %) above. On which days the other nine orders were sent is not
    published, and does not follow from the rule as it is described: after its first purchase the cash never falls below the
    1.5 % of one share that it takes for the limit, so by that rule every Monday rebalances (586 fills, 145,746.78). Which
    Mondays did not hangs on LEAN's inner clock (insights of 20 minutes on daily bars). Besides, the rule buys with the proceeds
    of sales that have not been made, on margin, which our gate refuses.
    """
    equity, fees, orders = of_statistics(published[MONDAYS.file])
    data = lean(MONDAYS)
    scaled = published_factors(REAL_DATA / "lean", data)
    first = once({security: str(D(1) / 7) for security in data.symbols}, MILLS)

    def on_the_first_monday(session, book, prices, equity):
        return first(session, book, prices, equity) if session >= date(2015, 1, 5) else {}

    held = trade(scaled, on_the_first_monday, MONDAYS.start, MONDAYS.end, MONDAYS.capital, MILLS)
    assert [(symbol, shares) for _, symbol, shares in held.fills] == [
        ("AAPL", 589), ("IBM", 116), ("FB", 184), ("SPY", 79), ("AIG", 303), ("BAC", 920), ("BNO", 688),
    ]  # fmt: skip
    assert {session for session, *_ in held.fills} == {date(2015, 1, 6)}
    assert (held.fees, held.fees + (orders - 7)) == (D("15.50"), D(fees))
    assert (cents(held.equity), cents(held.equity - D(equity))) == ("146210.52", "251.93")

    told = at_published_prices(MONDAYS, data)
    assert (cents(told.equity), len(told.fills)) == ("145746.78", 586)
    assert len(told.refused) == 61
    assert {rule for *_, rule in told.refused} <= {"max_gross_exposure", "cash"}
