"""Round trips: what each position earned, and that all of them together are the change of equity."""

from datetime import date
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.markets import SESSIONS
from tradebot_core.model.portfolio import Book, Entry, EntryKind, fold_order, usd
from tradebot_core.model.tables import ENTRIES, POSITIONS
from tradebot_core.quant.trades import attribute, figures_of
from tradebot_core.trading import rows
from tradebot_core.trading.session import LastPrice

D = Decimal
DAYS = SESSIONS[:10]


def entry(n: int, kind: EntryKind, cash: str, quantity: int = 0, security: int | None = 1, key: str = "") -> Entry:
    symbol = "" if security is None else f"S{security}"
    return Entry(f"{kind}:{n}:{security}:{key}", DAYS[n], kind, D(cash), quantity, security, symbol)


def tables(entries: list[Entry], prices: dict[int, str]) -> tuple[pl.DataFrame, pl.DataFrame, Decimal]:
    """The stored tables of these entries, and the equity at the last close."""
    book = Book().apply_all(sorted(entries, key=fold_order))
    last = {held: LastPrice(D(prices[held]), DAYS[-1]) for held in book.positions}
    made = rows.frame(ENTRIES, [rows.of_entry(e) for e in entries])
    held = rows.frame(POSITIONS, rows.of_positions(DAYS[-1], book, last))
    return made, held, book.equity({security: price.price for security, price in last.items()})


DEPOSIT = entry(0, EntryKind.DEPOSIT, "1000", security=None)


def test_a_position_that_is_built_up_reduced_and_sold_is_one_round_trip():
    made, held, equity = tables(
        [
            DEPOSIT,
            entry(1, EntryKind.TRADE, "-100", 10),
            entry(1, EntryKind.COMMISSION, "-1"),
            entry(2, EntryKind.TRADE, "-60", 5),
            entry(2, EntryKind.COMMISSION, "-1"),
            entry(3, EntryKind.SPLIT, "0", 15),  # 2:1
            entry(4, EntryKind.DIVIDEND, "3"),
            entry(4, EntryKind.WITHHOLDING, "-0.45"),
            entry(5, EntryKind.TRADE, "80", -10),
            entry(7, EntryKind.TRADE, "150", -20),
            entry(7, EntryKind.COMMISSION, "-1"),
        ],
        {},
    )
    found = attribute(made, held, DAYS)
    (trip,) = found.round_trips
    assert (trip.symbol, trip.opened, trip.closed, trip.sessions) == ("S1", DAYS[1], DAYS[7], 6)
    assert (trip.bought, trip.sold, trip.dividends, trip.commission, trip.other, trip.value) == (
        D(160),
        D(230),
        D("2.55"),
        D(3),
        D(0),
        D(0),
    )
    assert trip.profit == D("69.55") and trip.total_return == pytest.approx(69.55 / 160)
    assert found.deposits + found.profit == equity == D("1069.55")


def test_what_is_bought_again_is_another_round_trip_and_a_late_dividend_is_of_the_one_before():
    made, held, equity = tables(
        [
            DEPOSIT,
            entry(1, EntryKind.TRADE, "-100", 10),
            entry(2, EntryKind.TRADE, "90", -10),
            entry(3, EntryKind.DIVIDEND, "5"),  # the word came after the sale
            entry(4, EntryKind.TRADE, "-80", 10),
        ],
        {1: "9"},
    )
    found = attribute(made, held, DAYS)
    sold, open_ = found.round_trips
    assert (sold.closed, sold.sessions, sold.dividends, sold.profit) == (DAYS[2], 1, D(5), D(-5))
    assert (open_.closed, open_.sessions, open_.value, open_.profit) == (None, 5, D(90), D(10))
    assert found.deposits + found.profit == equity == D(1005)


def test_a_sale_and_a_purchase_in_one_session_do_not_end_a_round_trip():
    made, held, _ = tables(
        [
            DEPOSIT,
            entry(1, EntryKind.TRADE, "-100", 10),
            entry(2, EntryKind.TRADE, "50", -5, key="a"),
            entry(2, EntryKind.TRADE, "-40", 4, key="b"),
        ],
        {1: "10"},
    )
    (trip,) = attribute(made, held, DAYS).round_trips
    assert (trip.bought, trip.sold, trip.value, trip.profit) == (D(140), D(50), D(90), D(0))


def test_a_delisting_ends_it_with_what_it_paid_and_fractions_are_sold():
    made, held, equity = tables(
        [
            DEPOSIT,
            entry(1, EntryKind.TRADE, "-100", 10),
            entry(2, EntryKind.SPLIT, "0", -7),
            entry(2, EntryKind.CASH_IN_LIEU, "10"),
            entry(3, EntryKind.DELISTING, "15", -3),
        ],
        {},
    )
    (trip,) = attribute(made, held, DAYS).round_trips
    assert (trip.closed, trip.sold, trip.profit) == (DAYS[3], D(25), D(-75))
    assert equity == D(925)


def test_interest_belongs_to_no_position_and_a_kind_nobody_thought_of_is_still_in_the_sum():
    made, held, _ = tables([DEPOSIT, entry(1, EntryKind.TRADE, "-100", 10)], {1: "10"})
    schema = dict.fromkeys(ENTRIES.schema)
    more = [
        schema | {"session": DAYS[2], "entry_key": "i", "kind": "interest", "cash": "0.25", "quantity": 0},
        schema
        | {
            "session": DAYS[2],
            "entry_key": "f",
            "kind": "regulatory_fee",
            "cash": "-0.02",
            "quantity": 0,
            "security_id": 1,
            "symbol": "S1",
        },
    ]
    found = attribute(pl.concat([made, pl.DataFrame(more, schema=ENTRIES.schema)]), held, DAYS)
    assert found.unattributed == {"interest": D("0.25")}
    assert (found.round_trips[0].other, found.profit) == (D("-0.02"), D("0.23"))


def test_a_book_without_positions_has_no_figures_of_them():
    made, held, _ = tables([DEPOSIT], {})
    found = attribute(made, held, DAYS)
    assert (found.round_trips, found.deposits, found.profit) == ((), D(1000), D(0))
    figures = figures_of(found.round_trips)
    assert (figures.closed, figures.open, figures.hit_rate, figures.mean_return, figures.median_holding) == (
        0,
        0,
        None,
        None,
        None,
    )


def test_the_hit_rate_is_of_closed_round_trips_after_costs():
    made, held, _ = tables(
        [
            DEPOSIT,
            *(entry(1, EntryKind.TRADE, "-100", 10, security) for security in (1, 2, 3, 4)),
            entry(3, EntryKind.TRADE, "110", -10, 1),
            entry(4, EntryKind.TRADE, "100.50", -10, 2),
            entry(4, EntryKind.COMMISSION, "-1", 0, 2),
            entry(9, EntryKind.TRADE, "80", -10, 3),
        ],
        {4: "50"},
    )
    figures = figures_of(attribute(made, held, DAYS).round_trips)
    assert (figures.closed, figures.open) == (3, 1)
    assert figures.hit_rate == pytest.approx(1 / 3)  # the second lost by its commission
    assert (figures.mean_win, figures.mean_loss) == (pytest.approx(0.1), pytest.approx((-0.005 - 0.2) / 2))
    assert (figures.median_holding, figures.mean_holding) == (3.0, pytest.approx((2 + 3 + 8) / 3))


@st.composite
def books(draw: st.DrawFn) -> list[Entry]:
    """Random trades, actions and costs of three securities that never sell what is not held."""
    made, shares = [DEPOSIT], dict.fromkeys((1, 2, 3), 0)
    for n in range(len(DAYS)):
        for security in shares:
            what = draw(st.sampled_from(["nothing", "buy", "sell", "all", "dividend", "split", "delisting"]))
            cash = usd(draw(st.integers(1, 10**7)) / 1000)
            if what == "buy":
                quantity = draw(st.integers(1, 100))
                made += [
                    entry(n, EntryKind.TRADE, f"-{cash}", quantity, security),
                    entry(n, EntryKind.COMMISSION, "-1.005", 0, security),
                ]
            elif what in ("sell", "all") and shares[security]:
                quantity = -shares[security] if what == "all" else -draw(st.integers(1, shares[security]))
                made.append(entry(n, EntryKind.TRADE, str(cash), quantity, security))
            elif what == "dividend" and made[-1] is not DEPOSIT and any(e.security_id == security for e in made):
                made.append(entry(n, EntryKind.DIVIDEND, str(cash), 0, security))
                quantity = 0
            elif what == "split" and shares[security]:
                quantity = shares[security]
                made.append(entry(n, EntryKind.SPLIT, "0", quantity, security))
            elif what == "delisting" and shares[security]:
                quantity = -shares[security]
                made.append(entry(n, EntryKind.DELISTING, str(cash), quantity, security))
            else:
                quantity = 0
            shares[security] += quantity
    return made


@settings(deadline=None)  # what takes long is the machine
@given(books())
def test_all_profits_together_are_the_change_of_equity_to_the_last_digit(entries: list[Entry]):
    made, held, equity = tables(entries, {1: "12.3456", 2: "0.0001", 3: "999.9999"})
    found = attribute(made, held, DAYS)
    assert found.deposits + found.profit == equity
    assert sum(trip.closed is None for trip in found.round_trips) == len(held)
    for trip in found.round_trips:
        assert trip.profit == trip.sold - trip.bought + trip.dividends - trip.commission + trip.other + trip.value
        assert DAYS[0] <= trip.opened <= (trip.closed or DAYS[-1]) and isinstance(trip.opened, date)
