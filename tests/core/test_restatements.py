"""What a later filing changed under stored decisions: found, judged again on the session's own data, and nothing stored touched."""

import hashlib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.markets import CONFIG, XNYS, at, run_layers, tradebot
from tests.real_data import REAL_DATA
from tests.restated_market import AMENDMENT, ANNUAL_REPORT, CIK, CORRECTED, DECIDED, correct, fill, report
from tradebot_core.config import load_config
from tradebot_core.model.decision import Action
from tradebot_core.model.issuers import issuer_groups
from tradebot_core.model.tables import FACTS, FUNDAMENTALS, SECURITIES
from tradebot_core.quant.corrections import Filing, changes_by, changing_filings, corrected
from tradebot_core.trading.live import issue_permit
from tradebot_core.trading.restatements import Affected, Issuer, Reviewer, corrections, issuers
from tradebot_core.wiring import Tradebot, build

REAL = REAL_DATA
HOUR = timedelta(hours=1)
SPLIT = ((date(2024, 4, 15), 2.0),)


def decided(folder: Path, text: str = CONFIG) -> Tradebot:
    """GOOD's year as first filed, and a backtest of both strategies before it was corrected."""
    made = tradebot(folder, text=text)
    fill(made)
    for name in made.sleeves:
        run_layers(made, name, DECIDED)
        made.backtest(name, DECIDED, restart=True)
    return made


@pytest.fixture
def bot(tmp_path) -> Tradebot:
    return decided(tmp_path)


def reviewer(bot: Tradebot, strategy: str = "value_investor") -> Reviewer:
    sleeve = bot.sleeve(strategy)
    return Reviewer(bot.markets, bot.config.risk, sleeve.strategy)


def issuer_of(bot: Tradebot, cik: int = CIK) -> Issuer:
    (found,) = issuers(bot.store, bot.clock.now(), [cik])
    return found


def affected_by(bot: Tradebot, strategy: str = "value_investor") -> tuple[Affected, ...]:
    issuer = issuer_of(bot)
    return tuple(a for correction in corrections(issuer) for a in reviewer(bot, strategy).review(issuer, correction))


def verdict(affected: Affected, layer: str):
    (found,) = (change for change in affected.verdicts if (change.layer, change.symbol) == (layer, "GOOD"))
    return found


def test_a_loss_that_was_reported_as_a_profit_flips_the_screen_and_the_decisions(bot):
    correct(bot, NetIncomeLoss=-1e8)
    found = affected_by(bot)
    assert [affected.session for affected in found] == list(DECIDED)
    first = found[0]
    assert (first.strategy, first.book, first.symbol, first.reproduced) == ("value_investor", "backtest", "GOOD", True)
    assert [(c.figure, c.value_then, c.value_now, c.accession_then, c.accession_now) for c in first.figures] == [
        ("net_income_ttm", 7e8, -1e8, ANNUAL_REPORT, AMENDMENT)
    ]
    screen, analyze = verdict(first, "screen"), verdict(first, "analyze")
    assert (screen.then.passed, screen.now.passed, screen.now.rule, screen.now.value) == (True, False, "exit_net_income", -1e8)
    assert (screen.flipped, analyze.flipped, analyze.now) == (True, True, None)
    good = {change.symbol: change for change in first.decisions}["GOOD"]
    assert (good.then.action, good.now) == (Action.BUY, None)
    held = {change.symbol: change for change in found[1].decisions}["GOOD"]
    assert (held.then.action, held.now.action, held.now.rule) == (Action.HOLD, Action.SELL, "exit_net_income")
    assert all(affected.reproduced for affected in found)


def test_a_correction_that_changes_no_verdict_is_reported_with_the_figure_and_the_verdicts_as_they_stay(bot):
    correct(bot, CashAndCashEquivalentsAtCarryingValue=4.5e8)
    found = affected_by(bot)
    assert len(found) == len(DECIDED)
    assert {change.figure for affected in found for change in affected.figures} == {"cash"}
    assert not any(change.flipped for affected in found for change in affected.verdicts)
    assert not any(affected.decisions for affected in found)
    assert {change.layer for change in found[0].verdicts} == {"screen", "analyze"}


def test_a_strategy_that_does_not_look_at_the_figure_is_not_in_the_report(bot):
    correct(bot, CashAndCashEquivalentsAtCarryingValue=4.5e8)
    assert affected_by(bot, "quality_growth") == ()


def test_the_ranks_of_the_whole_session_follow_so_that_decisions_on_other_companies_change_too(tmp_path):
    """With one place, FADE is bought, a little cheaper than GOOD. Had GOOD earned what the amendment says, it would have been."""
    bot = decided(tmp_path, CONFIG.replace("max_positions: 4", "max_positions: 1"))
    correct(bot, NetIncomeLoss=1.2e9)
    first = affected_by(bot)[0]
    made = {c.symbol: (c.then.action, c.now.action) for c in first.decisions}
    assert made == {"FADE": (Action.BUY, Action.SKIP), "GOOD": (Action.SKIP, Action.BUY)}
    assert {change.symbol for change in first.verdicts} == {"GOOD"}


def test_nothing_that_is_stored_is_changed_and_the_report_is_the_same_again(bot, tmp_path):
    correct(bot, NetIncomeLoss=-1e8)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    one, two = affected_by(bot), affected_by(bot)
    assert one == two
    assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(before)} == before


def test_sessions_from_the_correction_on_are_not_in_the_report(bot):
    correct(bot, NetIncomeLoss=-1e8)
    later = XNYS.sessions(date(2024, 5, 8), date(2024, 5, 14))
    run_layers(bot, "value_investor", later)
    bot.backtest("value_investor", later, restart=True)
    sessions = [affected.session for affected in affected_by(bot)]
    assert sessions[-2:] == [date(2024, 5, 8), date(2024, 5, 9)]


def test_what_was_decided_with_other_parameters_is_said_not_to_be_reproduced(bot, tmp_path):
    correct(bot, NetIncomeLoss=-1e8)
    other = tradebot(tmp_path, text=CONFIG.replace("min_score: 0.3", "min_score: 0.95"))
    assert not any(affected.reproduced for affected in affected_by(other))


def test_a_live_decision_is_judged_again_on_what_the_store_held_when_it_was_made(tmp_path):
    bot = tradebot(tmp_path)
    fill(bot)
    session = DECIDED[0]
    evening = XNYS.cutoff(session) + HOUR
    run_layers(bot, "value_investor", [session])
    then = at(bot, evening)
    permit = issue_permit(then.store.ledger, XNYS, evening)
    sleeve = then.sleeve("value_investor")
    assert then.desk.decide(sleeve.strategy, sleeve.capital, session, permit.permit_id, "run", evening).live
    correct(bot, NetIncomeLoss=-1e8)
    (found,) = (affected for affected in affected_by(bot) if affected.book == "live")
    assert (found.session, found.reproduced) == (session, True)
    assert {c.symbol: (c.then.action, c.now) for c in found.decisions}["GOOD"] == (Action.BUY, None)


# What is a change -----------------------------------------------------------------------------------------------------------


def filings(*reports: pl.DataFrame) -> pl.DataFrame:
    return pl.concat(reports)


FIRST = report(ANNUAL_REPORT, "10-K", datetime(2024, 2, 5, 12, tzinfo=UTC), 1e8)
AMENDED = Filing(AMENDMENT, "10-K/A", CORRECTED.date(), CORRECTED)


def test_a_share_count_on_the_basis_of_a_later_split_is_no_change_and_any_other_is():
    facts = filings(FIRST, report(AMENDMENT, "10-K/A", CORRECTED, 2e8))
    assert [filing.accession for filing in changing_filings(facts)] == [AMENDMENT]
    assert changes_by(facts, AMENDED, SPLIT) == []
    (without,) = changes_by(facts, AMENDED)
    assert (without.tag, without.value_then, without.value_now) == ("EntityCommonStockSharesOutstanding", 1e8, 2e8)
    more = filings(FIRST, report(AMENDMENT, "10-K/A", CORRECTED, 2.2e8))
    (change,) = changes_by(more, AMENDED, SPLIT)
    assert (change.value_then, change.value_now) == (1e8, 1.1e8)


@pytest.mark.parametrize(
    ("first", "later", "is_change"),
    [
        (5_000_400_000, 5_000_000_000, False),  # the same, in millions
        (5_000_600_000, 5_000_000_000, True),
        (5_000_000_000, 5_001_000_000, True),
        (1_234_567, 1_234_568, True),
        (1_234_567, 1_235_000, False),  # the same, in thousands
    ],
)
def test_a_value_that_is_the_other_rounded_is_no_change(first, later, is_change):
    facts = filings(
        report(ANNUAL_REPORT, "10-K", datetime(2024, 2, 5, 12, tzinfo=UTC), 1e8, Revenues=float(first)),
        report(AMENDMENT, "10-K/A", CORRECTED, 1e8, Revenues=float(later)),
    )
    assert bool(changes_by(facts, AMENDED)) is is_change


def test_a_filing_that_repeats_a_correction_changes_nothing_anew():
    again = datetime(2025, 2, 5, 12, tzinfo=UTC)
    facts = filings(
        FIRST,
        report(AMENDMENT, "10-K/A", CORRECTED, 1e8, Revenues=4e9),
        report("9900000001-25-000001", "10-K", again, 1e8, Revenues=4e9),
    )
    assert changes_by(facts, Filing("9900000001-25-000001", "10-K", again.date(), again)) == []
    assert [filing.accession for filing in changing_filings(facts)] == [AMENDMENT]


@given(st.permutations(range(FIRST.height * 2)), st.integers(1, 10**10))
def test_the_order_of_the_facts_does_not_matter(order, revenue):
    facts = filings(FIRST, report(AMENDMENT, "10-K/A", CORRECTED, 1e8, Revenues=float(revenue)))
    shuffled = facts[list(order)]
    assert changes_by(shuffled, AMENDED) == changes_by(facts, AMENDED)
    assert changing_filings(shuffled) == changing_filings(facts)


def test_corrected_figures_are_known_when_the_first_filing_was_and_name_it():
    facts = filings(FIRST, report(AMENDMENT, "10-K/A", CORRECTED, 1e8, Revenues=4e9))
    row = corrected(FIRST, changes_by(facts, AMENDED), "GOOD").row(0, named=True)
    assert (row["revenue_ttm"], row["known_at"], row["accession"]) == (4e9, FIRST["known_at"][0], ANNUAL_REPORT)


# A real one -----------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not (REAL / "edgar").is_dir(), reason=f"no real data at {REAL} (TRADEBOT_REAL_DATA)")
def test_exxons_revenue_of_2015_as_filed_in_2016_and_as_restated_in_2018(tmp_path, monkeypatch):
    monkeypatch.setenv("TRADEBOT_REAL_DATA", str(REAL))
    example = (Path(__file__).parents[2] / "examples" / "large_companies.yaml").read_text()
    path = tmp_path / "config.yaml"
    path.write_text(example.replace("./data/large_companies", str(tmp_path / "store")))
    bot = build(load_config(path), path)
    sessions = XNYS.sessions(date(2016, 2, 22), date(2016, 3, 11))
    for name in ("contract_details", "price_bars", "corporate_actions"):
        bot.collect(name, sessions[0], sessions[-1])
    bot.collect("fundamentals", sessions[0], date(2018, 6, 29))
    run_layers(bot, "quality_growth", sessions)
    bot.backtest("quality_growth", sessions, restart=True)

    exxon = issuer_of(bot, 34088)
    (correction,) = corrections(exxon, accession="0000034088-18-000015")
    revenue = {
        (c.value_then, c.value_now, c.accession_then)
        for c in correction.changes
        if (c.tag, c.period_end) == ("Revenues", date(2015, 12, 31))
    }
    assert revenue == {(259_488e6, 239_854e6, accession) for accession in ("0000034088-16-000065", "0000034088-17-000017")}
    found = reviewer(bot, "quality_growth").review(exxon, correction)
    assert [affected.session for affected in found] == list(XNYS.sessions(date(2016, 2, 25), date(2016, 3, 11)))
    for affected in found:
        assert affected.reproduced
        assert [(c.figure, c.value_then, c.value_now, c.accession_then) for c in affected.figures] == [
            ("revenue_ttm", 259_488e6, 239_854e6, "0000034088-16-000065")
        ]
        (screen,) = affected.verdicts
        assert (screen.then.rule, screen.then.passed, screen.now.passed) == ("exit_revenue_growth", False, False)
        assert screen.now.value < screen.then.value
    assert bot.store.read(FUNDAMENTALS, as_of=XNYS.cutoff(sessions[-1])).filter(cik=34088)["revenue_ttm"][-1] == 259_488e6
    assert bot.store.read(FACTS, as_of=XNYS.cutoff(sessions[-1])).filter(cik=34088, accession="0000034088-18-000015").is_empty()


def test_a_group_of_issuers_is_read_at_a_time_of_the_tables_that_do_not_fit_in_memory(bot):
    asked: list[list[int]] = []

    class Watched:
        newest, read = bot.store.newest, bot.store.read

        def read_versions(self, table, **given):
            if "cik" in table.columns and table is not SECURITIES:
                asked.append(given["ciks"])
            return bot.store.read_versions(table, **given)

    found = [issuer.cik for issuer in issuers(Watched(), bot.clock.now())]
    groups = issuer_groups(bot.store.newest(FUNDAMENTALS, as_of=bot.clock.now())["cik"])
    assert CIK in found and asked == [group for group in groups for _ in ("facts", "fundamentals")]
