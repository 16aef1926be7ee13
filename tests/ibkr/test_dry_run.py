"""The dry run records and sends nothing."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from tests.ibkr.conftest import TUESDAY, WEDNESDAY, at, intent
from tradebot_core.calendar import xnys
from tradebot_core.clock import FixedClock
from tradebot_core.config import Mode
from tradebot_core.errors import ExecutionError
from tradebot_core.execution.dry_run import DryRunEngine
from tradebot_core.execution.ibkr import IbkrEngine
from tradebot_core.interfaces import ExecutionEngine
from tradebot_core.model.order import OrderState

EVENING = at(TUESDAY, 18)


def dry_run(engine: ExecutionEngine | None, record: Path, now: datetime = EVENING) -> DryRunEngine:
    return DryRunEngine(engine, record, xnys(), FixedClock(now))


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "state" / "dry_run.jsonl"


def test_an_order_is_recorded_once_and_works(record):
    engine = dry_run(None, record)
    assert engine.get_order_status(intent().key).state is None
    assert [engine.submit(intent()).state for _ in range(2)] == [OrderState.WORKING] * 2
    (line,) = [json.loads(line) for line in record.read_text().splitlines()]
    assert line == {
        "action": "submit",
        "key": "value|2026-11-17|100100|buy",
        "strategy": "value",
        "session": "2026-11-17",
        "security_id": 100100,
        "symbol": "AAA",
        "side": "buy",
        "quantity": 100,
        "reference_price": "16.5",
        "order_type": "market_on_open",
        "limit_price": None,
    }


def test_the_record_outlives_the_engine(record):
    dry_run(None, record).submit(intent())
    assert dry_run(None, record).get_order_status(intent().key).state is OrderState.WORKING


def test_a_cancellation_is_recorded_too(record):
    engine = dry_run(None, record)
    engine.submit(intent())
    assert engine.cancel(intent().key).state is OrderState.CANCELLED
    assert engine.get_order_status(intent().key).state is OrderState.CANCELLED
    assert [json.loads(line)["action"] for line in record.read_text().splitlines()] == ["submit", "cancel"]


def test_cancelling_what_was_never_recorded_records_nothing(record):
    assert dry_run(None, record).cancel(intent().key).state is None
    assert not record.exists()


def test_nothing_reaches_the_broker(record, engine):
    dry_run(engine, record).submit(intent())
    assert engine.get_order_status(intent().key).state is None
    assert dry_run(engine, record).get_order_status(intent().key).state is OrderState.WORKING


def test_an_order_from_before_is_seen_through_a_dry_run_and_not_cancelled(record, engine, settings):
    engine.submit(intent())
    dry = dry_run(IbkrEngine(settings, Mode.DRY_RUN), record)
    assert dry.submit(intent()).state is OrderState.WORKING
    assert not record.exists()
    assert dry.cancel(intent().key).state is OrderState.CANCELLED
    assert engine.get_order_status(intent().key).state is OrderState.WORKING


def test_a_damaged_record_stops_the_run(record):
    record.parent.mkdir()
    record.write_text('{"action": "submit", "key"')
    with pytest.raises(ExecutionError, match="cannot be read"):
        dry_run(None, record).submit(intent())


def test_a_recorded_order_expires_unfilled_when_its_open_has_passed(record):
    dry_run(None, record).submit(intent())
    assert dry_run(None, record, at(WEDNESDAY, 10)).get_order_status(intent().key).state is OrderState.EXPIRED
