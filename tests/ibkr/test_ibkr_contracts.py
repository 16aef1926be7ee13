"""Contract details of many shares: stored as they come, asked for once, through whatever interrupts them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.ibkr.conftest import ACCOUNT, TUESDAY, WEDNESDAY, Gateway, at
from tests.ibkr.wire import Answer, Cut, Fields, Wire, through
from tests.markets import XNYS
from tradebot_core.collectors.ibkr_contracts import IbkrContracts
from tradebot_core.errors import DataError
from tradebot_core.interfaces import Batch
from tradebot_core.model.tables import SECURITIES
from tradebot_core.simulation.market_data import SECURITIES_FILE
from tradebot_core.stores.file_store import FileStore

DETAILS = "9"
SYMBOLS = [f"N{number:02d}" for number in range(60)]
EVER = datetime.max.replace(tzinfo=UTC)


@dataclass
class Collecting:
    """A store, and a gateway on a wire that may be cut at the n-th question."""

    gateway: Gateway
    wire: Wire
    port: int
    folder: Path
    asked: list[str]
    cut_at: tuple[int, ...] = ()

    @property
    def store(self) -> FileStore:
        return FileStore(self.folder / "store", XNYS)

    def run(self, text: str | None = None, **params: object) -> Iterator[Batch]:
        ciks = self.folder / "ciks.csv"
        ciks.write_text(text or "symbol,cik\n" + "".join(f"{symbol},{7000 + n}\n" for n, symbol in enumerate(SYMBOLS)))
        collector = IbkrContracts(IbkrContracts.Params(port=self.port, account=ACCOUNT, ciks_path=ciks, **params), XNYS)
        for batch in collector.collect(self.store.read(SECURITIES, as_of=EVER), TUESDAY, TUESDAY):
            self.store.append(batch, self.gateway.clock.now())
            yield batch

    def stored(self) -> set[str]:
        return set(self.store.read(SECURITIES, as_of=EVER)["symbol"])

    def on_request(self, fields: Fields) -> Answer:
        if fields[0] == DETAILS:
            self.asked.append(fields[4])
            if len(self.asked) in self.cut_at:
                raise Cut
        return None


@pytest.fixture
def collecting(gateway: Gateway, tmp_path: Path) -> Iterator[Collecting]:
    more = "".join(f"{symbol},{7000 + n},Name {n},NYSE,{500 + n},0,I,C,2020-01-02,\n" for n, symbol in enumerate(SYMBOLS))
    with (gateway.folder / SECURITIES_FILE).open("a") as file:
        file.write(more)
    with gateway.serving() as tws, _on_a_wire(gateway, tws, tmp_path) as collecting:
        yield collecting


@contextmanager
def _on_a_wire(gateway: Gateway, port: int, folder: Path) -> Iterator[Collecting]:
    wire = Wire(port)
    with through(wire) as begins:
        collecting = Collecting(gateway, wire, begins, folder, [])
        wire.on_request = collecting.on_request
        yield collecting


def test_they_come_in_batches_and_are_stored_before_the_last_is_asked_for(collecting):
    batches = collecting.run()
    first = next(batches)
    assert (first.rows.height, len(collecting.stored())) == (20, 20)
    assert len(collecting.asked) < 60
    assert [batch.rows.height for batch in batches] == [20, 20]
    assert (collecting.stored(), sorted(collecting.asked)) == (set(SYMBOLS), SYMBOLS)


def test_a_connection_that_breaks_is_made_again_and_only_what_is_left_is_asked_for(collecting):
    collecting.cut_at = (17, 44)
    batches = list(collecting.run())
    assert (sum(batch.rows.height for batch in batches), collecting.stored()) == (60, set(SYMBOLS))
    assert collecting.wire.connections == 3
    asked_again = len(collecting.asked) - len(SYMBOLS)
    assert 2 <= asked_again <= 6, "no more than what was open at the two cuts, three at a time"


def test_when_the_gateway_does_not_come_back_what_came_is_kept_and_the_next_collection_asks_for_the_rest(collecting):
    collecting.cut_at = tuple(range(30, 1000))
    with pytest.raises(DataError, match=r"of 60 requests were answered\. What came is kept"):
        list(collecting.run(reconnects=0))
    kept = collecting.stored()
    assert 25 <= len(kept) < 30
    collecting.cut_at, collecting.asked[:] = (), []
    list(collecting.run())
    assert set(collecting.asked) == set(SYMBOLS) - kept
    assert collecting.stored() == set(SYMBOLS)


def test_a_collection_that_is_killed_goes_on_where_it_stood(collecting):
    batches = collecting.run()
    next(batches)
    batches.close()
    kept = collecting.stored()
    collecting.asked[:] = []
    assert sum(batch.rows.height for batch in collecting.run()) == 40
    assert set(collecting.asked) == set(SYMBOLS) - kept


def test_nothing_is_asked_for_twice_a_session_and_everything_anew_on_the_next(collecting):
    list(collecting.run())
    collecting.asked[:] = []
    assert (list(collecting.run()), collecting.asked) == ([], [])
    collecting.gateway.clock.set(at(WEDNESDAY, 10))
    assert sum(batch.rows.height for batch in collecting.run()) == 60
    assert collecting.store.read_versions(SECURITIES, as_of=EVER).height == 60  # the same, and so not stored again


def test_what_is_new_in_the_list_is_asked_for_first(collecting):
    list(collecting.run("symbol,cik\nN00,7000\nN01,7001\n"))
    collecting.gateway.clock.set(at(WEDNESDAY, 10))
    collecting.asked[:] = []
    list(collecting.run("symbol,cik\nN00,7000\nN01,7001\nN02,7002\n", requests_in_flight=1))
    assert collecting.asked == ["N02", "N00", "N01"]


def test_what_a_person_changes_in_the_list_is_asked_for_at_once(collecting):
    text = "symbol,cik,share_class,shares_per_listed\nN00,7000,0,1\nN01,7001,0,1\n"
    list(collecting.run(text))
    collecting.asked[:] = []
    list(collecting.run(text.replace("N01,7001,0,1", "N01,7001,0,2")))
    assert collecting.asked == ["N01"]
    collecting.asked[:] = []
    list(collecting.run(text.replace("N01,7001,0,1", "N01,7001,0,2"), known_since=XNYS.previous(TUESDAY)))
    assert sorted(collecting.asked) == ["N00", "N01"]


def test_a_share_that_ibkr_does_not_know_is_a_reason_in_a_batch_of_its_time_and_asked_for_again(collecting):
    text = "symbol,cik\nN00,7000\nZZZ,9999\n"
    for _ in range(2):
        (batch,) = collecting.run(text)
        assert [(r.record["symbol"], r.rule) for r in batch.rejected] == [("ZZZ", "ibkr_200")]
    assert sorted(collecting.asked) == ["N00", "ZZZ", "ZZZ"]
    assert collecting.store.quarantined().height == 1
