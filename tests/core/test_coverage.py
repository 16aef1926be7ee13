"""The coverage of a backtest: what share of its universe, the dead included, it could see, and what a reader must know first."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from tests.core.test_panel import filing, name, table
from tests.markets import CONFIG, SESSIONS, XNYS, fill_store, security_of, tradebot
from tests.scripted import append
from tradebot_core.model.tables import ACTIONS, BARS, FUNDAMENTALS, SECURITIES
from tradebot_core.trading import audit
from tradebot_core.trading.coverage import Coverage, coverage
from tradebot_core.trading.universe import UniverseEntry, members_of

AAA, BBB, CCC = 100, 200, 300
DAYS = SESSIONS[:40]
LONG = XNYS.sessions(date(2010, 1, 4), date(2013, 12, 31))


def bars(security: int, sessions: Sequence[date], late: bool = False) -> list[dict]:
    known = timedelta(hours=3) if late else timedelta(minutes=15)
    return [{"security_id": security, "session": s, "known_at": XNYS.closes_at(s) + known} for s in sessions]


def seen(
    bars: Sequence[dict], names: Sequence[dict], filings: Sequence[dict] = (), actions: Sequence[dict] = (), sessions=DAYS, **of
) -> Coverage:
    tables = (table(of_, list(rows)) for of_, rows in ((BARS, bars), (ACTIONS, actions), (FUNDAMENTALS, filings)))
    stored_bars, stored_actions, stored_filings = tables
    master = table(SECURITIES, list(names))
    universe = of.pop("universe", None)
    members = None if universe is None else members_of(universe, master)
    return coverage(sessions, XNYS, master, members, [stored_bars], stored_actions, stored_filings, **of)


def delisting(security: int, session: date) -> dict:
    return {"security_id": security, "session": session, "type": "delisting", "value": 1.0, "known_at": XNYS.opens_at(session)}


def test_the_share_with_bars_is_of_all_sessions_in_which_the_securities_were_listed():
    found = seen([*bars(AAA, DAYS), *bars(BBB, DAYS[:10])], [name(AAA, "AAA"), name(BBB, "BBB")])
    assert (found.securities, found.with_bars) == (2, 50 / 80)


def test_the_dead_count_until_they_died_and_are_counted():
    dead = name(BBB, "BBB", valid_to=DAYS[9])
    found = seen([*bars(AAA, DAYS), *bars(BBB, DAYS[:10])], [name(AAA, "AAA"), dead])
    assert (found.securities, found.with_bars, found.ended, found.ended_without_delisting) == (2, 1.0, 1, ())


def test_a_delisting_is_an_end_and_bars_that_stop_without_one_are_named():
    rows = [*bars(AAA, DAYS), *bars(BBB, DAYS[:10]), *bars(CCC, DAYS[:10])]
    names = [name(AAA, "AAA"), name(BBB, "BBB"), name(CCC, "CCC")]
    found = seen(rows, names, actions=[delisting(BBB, DAYS[10])])
    assert (found.ended, found.ended_without_delisting) == (1, ("CCC",))
    assert "1 stops trading without a delisting, and is carried at its last price: CCC." in found.warnings


def test_a_halt_of_less_than_ten_sessions_is_no_end():
    found = seen([*bars(AAA, DAYS[:-9])], [name(AAA, "AAA")])
    assert found.ended_without_delisting == ()
    assert seen([*bars(AAA, DAYS[:-10])], [name(AAA, "AAA")]).ended_without_delisting == ("AAA",)


def test_a_member_counts_in_its_spells_and_its_leaving_is_no_death():
    universe = [UniverseEntry("AAA"), UniverseEntry("BBB", DAYS[0], DAYS[9])]
    found = seen([*bars(AAA, DAYS), *bars(BBB, DAYS)], [name(AAA, "AAA"), name(BBB, "BBB")], universe=universe)
    assert (found.securities, found.with_bars, found.ended, found.ended_without_delisting) == (2, 1.0, 0, ())
    assert found.years[0].securities == 2


def test_filings_and_market_values_count_from_the_session_that_could_see_them():
    day = DAYS[20]
    filings = [
        filing(1, XNYS.cutoff(DAYS[10]), revenue_ttm=1.0),
        filing(1, XNYS.cutoff(day) + timedelta(seconds=1), shares_outstanding=1e6),
    ]
    found = seen(bars(AAA, DAYS), [name(AAA, "AAA")], filings)
    assert (found.with_fundamentals, found.with_market_value) == (30 / 40, 19 / 40)


def test_one_count_of_several_classes_makes_no_market_value():
    names = [name(AAA, "GOOGL"), name(AAA + 1, "GOOG") | {"cik": 1}]
    filings = [filing(1, XNYS.cutoff(DAYS[0]), shares_outstanding=1e6)]
    found = seen(bars(AAA, DAYS), names, filings)
    assert found.with_market_value == 0
    assert "No market value was known in any session: no rule on price against figures was passed." in found.warnings
    assert seen(bars(AAA, DAYS), names[:1], filings).with_market_value == 1


def test_a_bar_that_came_after_its_cut_off_was_not_seen():
    assert seen(bars(AAA, DAYS, late=True), [name(AAA, "AAA")]).with_bars == 0


def test_a_security_counts_from_the_day_it_was_known():
    known = name(AAA, "AAA", known_at=XNYS.opens_at(DAYS[20]))
    found = seen(bars(AAA, DAYS), [known])
    assert found.with_bars == 1.0
    assert seen(bars(AAA, DAYS), [known | {"known_at": XNYS.opens_at(SESSIONS[50])}]).securities == 0


def test_a_correction_of_its_row_does_not_make_a_security_known_later():
    first, corrected = name(AAA, "AAA"), name(AAA, "AAA", con_id=7, known_at=XNYS.opens_at(DAYS[20]))
    assert seen(bars(AAA, DAYS[:20]), [first, corrected]).with_bars == 20 / 40


def test_what_is_missing_is_named():
    names = [name(AAA, "AAA"), name(BBB, "BBB")]
    filings = [filing(1, XNYS.cutoff(DAYS[0]), revenue_ttm=1.0)]
    found = seen(bars(AAA, DAYS), names, filings, unknown_symbols=["XQZW"], caveats=["Survivors only."])
    assert (found.without_bars, found.issuers_without_facts, found.unknown_symbols) == (("BBB",), ("BBB",), ("XQZW",))
    assert found.caveats == ("Survivors only.",)
    assert len(found.warnings) == 4  # and no market value at all


def test_no_death_in_years_is_a_warning_in_words_and_in_months_is_none():
    found = seen(
        bars(AAA, LONG), [name(AAA, "AAA", valid_from=LONG[0], known_at=datetime(2010, 1, 1, tzinfo=UTC))], sessions=LONG
    )
    assert found.warnings[0].startswith("Survivorship: none of 1 securities was delisted in 4 years.")
    assert not any("Survivorship" in said for said in seen(bars(AAA, DAYS), [name(AAA, "AAA")]).warnings)


def test_each_year_has_its_own_figures():
    half = [s for s in LONG if s.year < 2012]
    names = [name(AAA, "AAA", valid_from=LONG[0], known_at=datetime(2010, 1, 1, tzinfo=UTC))]
    found = seen(bars(AAA, half), names, sessions=LONG)
    assert [(year.year, year.securities, year.with_bars) for year in found.years] == [
        (2010, 1, 1.0),
        (2011, 1, 1.0),
        (2012, 1, 0.0),
        (2013, 1, 0.0),
    ]


def test_nothing_listed_is_said_and_not_divided_by():
    found = seen([], [])
    assert (found.with_bars, found.warnings[0]) == (None, "No security of the universe was known to be listed in the range.")


def test_a_renamed_security_is_one_security():
    names = [name(AAA, "OLD", valid_to=DAYS[19]), name(AAA, "NEW", valid_from=DAYS[20])]
    found = seen(bars(AAA, DAYS), names)
    assert (found.securities, found.with_bars, found.ended) == (1, 1.0, 0)


# From the store


def test_the_coverage_of_a_store_with_a_configured_universe(tmp_path):
    bot = tradebot(tmp_path, text=CONFIG + "universe: {{symbols: [GOOD, FADE, LOSS]}}\n")
    fill_store(bot)
    fade, last = security_of("FADE"), SESSIONS[60]
    append(bot, ACTIONS, {**delisting(fade, last), "value": 3.0})
    found = bot.coverage(SESSIONS[25:])
    assert (found.securities, found.with_bars, found.with_fundamentals, found.ended) == (3, 1.0, 1.0, 1)
    assert found.warnings == ()


@pytest.mark.parametrize(("quiet", "found"), [(9, 0), (10, 1)])
def test_the_audit_names_a_security_that_stopped_with_its_last_price(quiet, found):
    rows = pl.DataFrame({"security_id": AAA, "session": DAYS[:-quiet], "close": 12.5})
    actions = pl.DataFrame(schema={"security_id": pl.Int64, "type": pl.String})
    ended = audit.ended_without_delisting(rows, actions, table(SECURITIES, [name(AAA, "AAA")]), DAYS)
    assert ended.rows() == [("AAA", AAA, DAYS[-quiet - 1], 12.5)][:found]
    told = pl.DataFrame({"security_id": [AAA], "type": ["delisting"]})
    assert audit.ended_without_delisting(rows, told, table(SECURITIES, [name(AAA, "AAA")]), DAYS).is_empty()
