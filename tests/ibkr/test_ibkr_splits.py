"""A split that nobody announced, in a series that is stated anew: through the simulated TWS and the unmodified ib_async client.

BBB splits two for one on Wednesday 18 November 2026. The store keeps prices as they traded.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path

import polars as pl
import pytest

from tests.ibkr.conftest import ACCOUNT, ACTIONS_FILE, SECURITY_IDS, SESSIONS, SPLIT, THURSDAY, TUESDAY, WEDNESDAY, at, open_of
from tests.markets import XNYS, tradebot
from tests.markets import at as standing_at
from tradebot_core.calendar import NEW_YORK
from tradebot_core.collectors.ibkr_splits import IbkrSplits
from tradebot_core.interfaces import Batch
from tradebot_core.model.tables import ACTIONS, BARS, SECURITIES
from tradebot_core.quant.adjust import Adjustment
from tradebot_core.trading.adjusted_bars import adjusted_bars
from tradebot_core.wiring import Tradebot

CONFIG = """\
mode: paper
data_store: {{{{backend: file, path: {{store}}}}}}
first_session: 2026-11-02
collectors:
  - name: price_bars
    class_path: tradebot_core.collectors.ibkr_bars.IbkrBars
    params: {{{{account: {account}, port: {port}{more}}}}}
  - name: detected_splits
    class_path: tradebot_core.collectors.ibkr_splits.IbkrSplits
    params: {{{{account: {account}, port: {port}}}}}
"""
BBB = SECURITY_IDS["BBB"]
LATER = datetime(2027, 1, 4, tzinfo=UTC)
RAW_OPENS = {session: open_of("BBB", session) for session in SESSIONS}


class Evening:
    """A store with two shares, collected on evenings of the test's choice, as the schedule does."""

    def __init__(self, folder: Path, gateway, port: int, more: str = "") -> None:
        self._gateway = gateway
        text = CONFIG.format(account=ACCOUNT, port=port, more=more)
        self._bot = tradebot(folder / "bot", text=text)
        names = {"AAA": 101, "BBB": 102}
        rows = [
            dict.fromkeys(SECURITIES.columns)
            | {"security_id": SECURITY_IDS[symbol], "cik": 1001 + n, "symbol": symbol, "name": symbol, "con_id": con_id}
            | {"valid_from": date(2020, 1, 2), "valid_to": date.max, "known_at": datetime(2020, 1, 2, tzinfo=UTC)}
            for n, (symbol, con_id) in enumerate(names.items())
        ]
        schema = {**SECURITIES.columns, "known_at": SECURITIES.schema["known_at"]}
        self.store.append(Batch(SECURITIES, pl.DataFrame(rows, schema=schema), "test"), datetime(2020, 1, 2, tzinfo=UTC))

    @property
    def store(self):
        return self._bot.store

    def bot_at(self, session: date, hour: int = 18) -> Tradebot:
        self._gateway.clock.set(at(session, hour))
        return standing_at(self._bot, at(session, hour).astimezone(UTC))

    def collect(self, session: date, of: date | None = None, names: Sequence[str] = ("price_bars", "detected_splits")) -> None:
        """On the evening of `session`, the bars and actions of that session (or of the one given)."""
        bot = self.bot_at(session)
        for name in names:
            bot.collect(name, of or session, of or session)

    def write(self, sessions: Sequence[date], **changed: float) -> None:
        """Bars of BBB and AAA as they were stored on the evenings of these sessions, before anything was compared."""
        rows = []
        for symbol in ("AAA", "BBB"):
            for session in sessions:
                opened = open_of(symbol, session)
                prices = {"open": opened, "high": opened + 1, "low": opened - 0.25, "close": opened + 0.5, "volume": 1000.0}
                keys = {"security_id": SECURITY_IDS[symbol], "session": session, "known_at": at(session, 16)}
                rows.append(keys | prices | (changed if symbol == "BBB" and session == sessions[-1] else {}))
        schema = {**BARS.columns, "known_at": BARS.schema["known_at"]}
        frame = pl.DataFrame(rows, schema=schema)
        self.store.append(Batch(BARS, frame, "ibkr"), at(sessions[-1], 18).astimezone(UTC))

    def record(self, session: date, ratio: float) -> None:
        row = {"security_id": BBB, "session": session, "type": "split", "value": ratio, "known_at": at(session, 0)}
        schema = {**ACTIONS.columns, "known_at": ACTIONS.schema["known_at"]}
        self.store.append(Batch(ACTIONS, pl.DataFrame([row], schema=schema), "file:a.csv"), at(session, 0).astimezone(UTC))

    def opens(self, security: int = BBB) -> dict[date, float]:
        bars = self.store.read_versions(BARS, as_of=LATER).filter(security_id=security)
        assert bars["session"].is_unique().all()  # nothing was corrected
        return dict(bars.select("session", "open").iter_rows())

    def splits(self) -> list[tuple[int, date, float, datetime]]:
        rows = self.store.read_versions(ACTIONS, as_of=LATER)
        return rows.select("security_id", "session", "value", "known_at").rows()

    def quarantined(self) -> list[tuple[str, str, str]]:
        return self.store.quarantined().select("table", "rule", "reason").rows()


@pytest.fixture
def evening(tmp_path, gateway, port) -> Evening:
    return Evening(tmp_path, gateway, port)


def up_to(session: date) -> list[date]:
    return [day for day in SESSIONS if day <= session]


def midnight(session: date) -> datetime:
    return datetime.combine(session, time.min, NEW_YORK).astimezone(UTC)


def test_day_by_day_the_split_is_found_on_its_day_and_prices_stay_as_they_traded(evening):
    evening.write(up_to(SESSIONS[4]))
    for session in SESSIONS[5:10]:
        evening.collect(session)
    assert evening.opens() == {session: RAW_OPENS[session] for session in SESSIONS[:10]}
    assert evening.opens()[TUESDAY] == 106.0 and evening.opens()[WEDNESDAY] == 53.5
    assert evening.splits() == [(BBB, SPLIT, 2.0, midnight(SPLIT))]
    assert evening.quarantined() == []


def test_the_adjusted_view_follows_at_once(evening):
    evening.write(up_to(TUESDAY))

    def close_of_tuesday(as_of: datetime) -> float:
        return adjusted_bars(evening.store, Adjustment.SPLIT, as_of, TUESDAY, TUESDAY).filter(security_id=BBB)["close"].item()

    assert close_of_tuesday(XNYS.cutoff(WEDNESDAY)) == 106.5
    evening.collect(WEDNESDAY)
    assert close_of_tuesday(XNYS.cutoff(WEDNESDAY)) == 53.25
    assert close_of_tuesday(XNYS.cutoff(TUESDAY)) == 106.5


def test_in_the_morning_of_the_split_it_is_known_before_the_open(evening):
    evening.write(up_to(TUESDAY))
    evening.bot_at(WEDNESDAY, 7).collect("detected_splits", TUESDAY, TUESDAY)
    assert evening.splits() == [(BBB, SPLIT, 2.0, midnight(SPLIT))]
    assert evening.store.read(ACTIONS, as_of=XNYS.opens_at(WEDNESDAY)).height == 1


def test_the_order_in_which_bars_and_splits_are_collected_does_not_matter(tmp_path, gateway, port):
    found = []
    for name, order in (("one", ("price_bars", "detected_splits")), ("other", ("detected_splits", "price_bars"))):
        evening = Evening(tmp_path / name, gateway, port)
        evening.write(up_to(TUESDAY))
        for session in (WEDNESDAY, THURSDAY):
            evening.collect(session, names=order)
        found.append((evening.opens(), evening.splits()))
    assert found[0] == found[1]
    assert found[0][1] == [(BBB, SPLIT, 2.0, midnight(SPLIT))]


def test_a_split_that_was_missed_on_its_day_is_found_later_by_the_bars_on_both_sides(evening):
    evening.write(up_to(WEDNESDAY))  # Wednesday's bar came in, and nobody compared
    evening.collect(THURSDAY)
    assert evening.splits() == [(BBB, SPLIT, 2.0, midnight(SPLIT))]
    assert evening.opens()[THURSDAY] == RAW_OPENS[THURSDAY]


def test_days_that_were_missed_are_fetched_without_a_file_where_the_series_agrees(evening):
    evening.write(up_to(SESSIONS[4]))
    bot = evening.bot_at(TUESDAY)
    bot.collect("price_bars", SESSIONS[5], TUESDAY)
    assert evening.opens() == {session: RAW_OPENS[session] for session in up_to(TUESDAY)}


def test_a_split_within_missed_days_is_refused_with_the_days_it_may_be_and_others_go_on(evening):
    evening.write(up_to(SESSIONS[5]))  # to Monday; Tuesday and the day of the split were missed
    bot = evening.bot_at(WEDNESDAY)
    for name in ("price_bars", "detected_splits"):
        bot.collect(name, TUESDAY, WEDNESDAY)
    assert max(evening.opens()) == SESSIONS[5]
    assert max(evening.opens(SECURITY_IDS["AAA"])) == WEDNESDAY
    assert evening.splits() == []
    reason = f"a split with a ratio of 2 took effect on one of {TUESDAY}, {WEDNESDAY}: record it in a file of actions"
    assert evening.quarantined() == [("bars", "stored_bars_differ", reason), ("actions", "not_a_split", reason)]
    evening.record(WEDNESDAY, 2.0)
    bot.collect("price_bars", TUESDAY, WEDNESDAY)
    assert evening.opens() == {session: RAW_OPENS[session] for session in up_to(WEDNESDAY)}


def test_a_split_recorded_with_another_ratio_becomes_a_new_version_known_when_it_came(evening):
    evening.write(up_to(TUESDAY))
    evening.record(WEDNESDAY, 4.0)
    evening.collect(WEDNESDAY)
    came = at(WEDNESDAY, 18).astimezone(UTC)
    assert evening.splits() == [(BBB, SPLIT, 4.0, midnight(SPLIT)), (BBB, SPLIT, 2.0, came)]
    assert evening.opens()[WEDNESDAY] == RAW_OPENS[WEDNESDAY]


def test_a_difference_that_is_no_split_takes_no_bar_of_the_symbol(evening):
    evening.write(up_to(TUESDAY), close=90.0, low=80.0, open=85.0)
    evening.collect(WEDNESDAY)
    assert max(evening.opens()) == TUESDAY
    assert max(evening.opens(SECURITY_IDS["AAA"])) == WEDNESDAY
    assert evening.splits() == []
    assert [(table, rule) for table, rule, _ in evening.quarantined()] == [
        ("bars", "stored_bars_differ"),
        ("actions", "not_a_split"),
    ]
    assert "and not by the constant ratio of a split" in evening.quarantined()[0][2]


def test_history_again_leaves_the_bars_that_stand(evening):
    """Made from re-based bars they would differ by the rounding of those."""
    evening.write(up_to(THURSDAY))
    bot = evening.bot_at(THURSDAY)
    bot.collect("detected_splits", THURSDAY, THURSDAY)
    bot.collect("price_bars", SESSIONS[0], THURSDAY)
    assert evening.opens() == {session: RAW_OPENS[session] for session in up_to(THURSDAY)}


def test_a_share_without_stored_bars_has_its_day_and_no_history(evening):
    evening.write(up_to(TUESDAY))
    bot = evening.bot_at(WEDNESDAY)
    newcomer = {"security_id": SECURITY_IDS["CC.B"], "cik": 1003, "symbol": "CC.B", "name": "CC.B", "con_id": 103}
    dates = {"valid_from": date(2020, 1, 2), "valid_to": date.max, "known_at": datetime(2020, 1, 2, tzinfo=UTC)}
    schema = {**SECURITIES.columns, "known_at": SECURITIES.schema["known_at"]}
    row = pl.DataFrame([dict.fromkeys(SECURITIES.columns) | newcomer | dates], schema=schema)
    evening.store.append(Batch(SECURITIES, row, "test"), datetime(2020, 1, 2, tzinfo=UTC))
    bot.collect("price_bars", TUESDAY, WEDNESDAY)
    assert evening.opens(SECURITY_IDS["CC.B"]) == {WEDNESDAY: open_of("CC.B", WEDNESDAY)}
    assert [rule for _, rule, _ in evening.quarantined()] == ["splits_unknown"]
    assert "splits since 2026-11-17" in evening.quarantined()[0][2]


def test_the_file_of_actions_counts_too(tmp_path, gateway, port):
    evening = Evening(tmp_path, gateway, port, f", actions_path: {gateway.folder / ACTIONS_FILE}")
    evening.write(up_to(SESSIONS[5]))
    bot = evening.bot_at(THURSDAY)
    bot.collect("price_bars", SESSIONS[0], THURSDAY)
    assert evening.opens() == {session: RAW_OPENS[session] for session in up_to(THURSDAY)}


def test_without_stored_bars_there_is_nothing_to_ask(port):
    collector = IbkrSplits(IbkrSplits.Params(port=1, account=ACCOUNT), XNYS)
    assert list(collector.collect(pl.DataFrame({"security_id": [BBB]}), TUESDAY, WEDNESDAY)) == []
