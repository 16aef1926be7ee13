"""Arming: a person's word for a day at the most, which any change of what was armed takes back."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from tests.core.test_live import BUY, Desk, FakeEngine, a_desk, day, evening, forbidden, morning_after
from tests.markets import XNYS
from tradebot_core.config import Config, IbkrSettings, Mode
from tradebot_core.errors import UsageError
from tradebot_core.stores.sqlite_ledger import SqliteLedger
from tradebot_core.trading.arming import Arming, arming_of, default_expiry, disarm, next_deadline
from tradebot_core.trading.code_version import code_version, digest_of_sources
from tradebot_core.trading.live import Outcome, submit_deadline

NOW = datetime(2026, 11, 24, 14, tzinfo=UTC)
HOUR = timedelta(hours=1)
SETTINGS = Config.model_validate({"mode": "live", "ibkr": {"account": "U1234567"}})
STRATEGIES = {"value": "f1"}


@pytest.fixture
def ledger(tmp_path: Path) -> SqliteLedger:
    return SqliteLedger(tmp_path / "ledger.sqlite")


def arming(ledger: SqliteLedger, config: Config = SETTINGS, strategies=STRATEGIES, code: str = "1+a") -> Arming:
    return arming_of(config, ledger, strategies, code)


def test_in_mode_live_nothing_is_armed_until_a_person_says_so(ledger):
    assert "never armed" in arming(ledger).why_not(NOW) and "`tradebot arm`" in arming(ledger).why_not(NOW)
    given = arming(ledger).arm("jane", NOW, NOW + HOUR)
    assert (given.operator, given.account, given.expires_at) == ("jane", "U1234567", NOW + HOUR)
    assert arming(ledger).why_not(NOW) == ""
    assert arming(ledger).armed_until(NOW) == NOW + HOUR


@pytest.mark.parametrize("mode", [Mode.PAPER, Mode.DRY_RUN])
def test_elsewhere_it_is_not_needed_and_not_given(ledger, mode):
    paper = arming(ledger, SETTINGS.model_copy(update={"mode": mode}))
    assert (paper.why_not(NOW), paper.armed_until(NOW)) == ("", None)
    with pytest.raises(UsageError):
        paper.arm("jane", NOW, NOW + HOUR)
    assert ledger.last_arm() is None


@pytest.mark.parametrize(
    ("later", "armed"), [(timedelta(0), True), (HOUR - timedelta(microseconds=1), True), (HOUR, False), (-HOUR, False)]
)
def test_it_holds_from_when_it_was_given_until_it_expires(ledger, later, armed):
    arming(ledger).arm("jane", NOW, NOW + HOUR)
    assert (arming(ledger).why_not(NOW + later) == "") is armed


@pytest.mark.parametrize("length", [timedelta(0), -HOUR, timedelta(hours=24, microseconds=1)])
def test_no_arm_is_longer_than_a_day_or_over_when_it_begins(ledger, length):
    with pytest.raises(UsageError):
        arming(ledger).arm("jane", NOW, NOW + length)
    assert ledger.last_arm() is None


CHANGES = {
    "risk": {"risk": SETTINGS.risk.model_copy(update={"max_order_notional": Decimal(10_001)})},
    "ibkr": {"ibkr": IbkrSettings(account="U1234567", port=4001)},
    "data_store": {"data_store": SETTINGS.data_store.model_copy(update={"path": Path("elsewhere")})},
    "costs": {"costs": SETTINGS.costs.model_copy(update={"slippage_bps": 1.0})},
}


@pytest.mark.parametrize("part", CHANGES)
def test_a_changed_configuration_disarms_and_the_part_is_named(ledger, part):
    arming(ledger).arm("jane", NOW, NOW + HOUR)
    changed = arming(ledger, SETTINGS.model_copy(update=CHANGES[part]))
    assert f"(changed: {part})" in changed.why_not(NOW)
    assert changed.armed_until(NOW) is None
    assert arming(ledger).why_not(NOW) == ""  # put back, it is what was armed


@pytest.mark.parametrize("strategies", [{"value": "f2"}, {}, {"value": "f1", "growth": "f1"}])
def test_a_changed_removed_or_added_strategy_disarms(ledger, strategies):
    arming(ledger).arm("jane", NOW, NOW + HOUR)
    assert "changed: strategy" in arming(ledger, strategies=strategies).why_not(NOW)


def test_another_account_disarms(ledger):
    arming(ledger).arm("jane", NOW, NOW + HOUR)
    other = SETTINGS.model_copy(update={"ibkr": IbkrSettings(account="U7654321")})
    assert "the account that was armed is U1234567" in arming(ledger, other).why_not(NOW)


def test_other_code_disarms(ledger):
    arming(ledger).arm("jane", NOW, NOW + HOUR)
    assert "(1+a then, 1+b here)" in arming(ledger, code="1+b").why_not(NOW)


def test_disarming_ends_it_and_arming_anew_begins_it(ledger):
    arming(ledger).arm("jane", NOW, NOW + HOUR)
    disarm(ledger, "U1234567", "joe", NOW)
    assert "joe disarmed it at 2026-11-24 14:00 UTC" in arming(ledger).why_not(NOW)
    arming(ledger).arm("jane", NOW, NOW + HOUR)
    assert arming(ledger).why_not(NOW) == ""


def test_the_code_version_follows_the_sources_and_nothing_else(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "one.py").write_text("a = 1\n")
    (package / "rules.toml").write_text("a = 1\n")
    before = digest_of_sources([package])
    (package / "one.pyc").write_bytes(b"x")
    assert digest_of_sources([package]) == before
    for name in ("one.py", "rules.toml", "two.py"):
        (package / name).write_text("a = 2\n")
        after = digest_of_sources([package])
        assert after != before
        before = after
    assert code_version(("tests",)) != code_version(("tradebot_core",))
    assert code_version(("tests", "not_there")) == code_version(("tests",))


# Until when, unless told


@pytest.mark.parametrize(
    ("now", "session"),
    [
        (datetime(2026, 11, 24, 22, tzinfo=UTC), date(2026, 11, 24)),  # Tuesday evening: until Wednesday's open
        (datetime(2026, 11, 25, 14, 24, tzinfo=UTC), date(2026, 11, 24)),
        (datetime(2026, 11, 25, 14, 25, tzinfo=UTC), date(2026, 11, 25)),  # its time is over: until Friday's open
    ],
)
def test_the_next_deadline_is_that_of_the_orders_that_can_be_sent_next(now, session):
    assert next_deadline(XNYS, now) == submit_deadline(XNYS, session) > now


def test_it_lasts_until_then_but_a_day_at_the_most():
    tuesday, friday = datetime(2026, 11, 24, 22, tzinfo=UTC), datetime(2026, 11, 27, 22, tzinfo=UTC)
    assert default_expiry(XNYS, tuesday) == datetime(2026, 11, 25, 14, 25, tzinfo=UTC)
    assert default_expiry(XNYS, friday) == friday + timedelta(hours=24)


# At the desk


def live(desk: Desk) -> Desk:
    """The same sleeve in mode live, with an engine that a test gives it."""
    bot = desk.bot
    config = bot.config.model_copy(update={"mode": Mode.LIVE, "ibkr": IbkrSettings(account="U1234567")})
    return Desk(replace(bot, config=config), desk.engine)


def test_without_an_arm_nothing_is_sent_and_nothing_lost_and_once_armed_it_is_sent(tmp_path):
    desk = live(a_desk(tmp_path, BUY, engine=forbidden))
    desk.decide(day(0))
    refused = desk.submit(day(0))
    assert refused.outcome is Outcome.NOT_ARMED
    assert "Live trading of U1234567 is not armed" in refused.note and "`tradebot arm`" in refused.note
    assert (desk.ledger.orders("scripted").is_empty(), desk.ledger.is_planned("scripted", day(0))) == (True, False)
    engine = FakeEngine()
    desk.engine = lambda: engine
    now = morning_after(day(0))
    desk.bot.arming.arm("jane", now, now + HOUR)
    assert desk.submit(day(0), now).outcome is Outcome.SUBMITTED
    assert (len(engine.received), desk.states()) == (1, {"buy AAA": "working"})


def test_armed_too_late_its_decisions_expire(tmp_path):
    desk = live(a_desk(tmp_path, BUY, engine=forbidden))
    desk.decide(day(0))
    deadline = submit_deadline(XNYS, day(0))
    desk.bot.arming.arm("jane", deadline, deadline + HOUR)
    assert desk.submit(day(0), deadline).outcome is Outcome.EXPIRED


def test_disarming_stops_between_two_orders(tmp_path):
    def last_one(engine, intent):
        engine.receive(intent)
        disarm(desk.ledger, "U1234567", "jane", evening(day(0)))

    engine = FakeEngine(on_submit=last_one)
    desk = live(a_desk(tmp_path, f"{day(0)} buy AAA 0.3", f"{day(0)} buy BBB 0.3", engine=lambda: engine))
    desk.decide(day(0))
    desk.bot.arming.arm("jane", evening(day(0)), evening(day(0)) + HOUR)
    submission = desk.submit(day(0))
    assert (submission.outcome, len(engine.received)) == (Outcome.NOT_ARMED, 1)
    assert "jane disarmed it" in submission.note and "1 orders had gone out" in submission.note


def test_paper_needs_no_arm(tmp_path):
    engine = FakeEngine()
    desk = a_desk(tmp_path, BUY, engine=lambda: engine)
    desk.night(day(0))
    assert len(engine.received) == 1


def test_a_halt_holds_what_is_armed(tmp_path):
    desk = live(a_desk(tmp_path, BUY, engine=forbidden))
    desk.decide(day(0))
    desk.bot.arming.arm("jane", evening(day(0)), evening(day(0)) + HOUR)
    desk.ledger.halt("looks odd", evening(day(0)))
    assert desk.submit(day(0)).outcome is Outcome.HALTED
