"""The kill switch works when nothing else does."""

import pytest

from tests.cli.conftest import WITH_CLOCK
from tradebot_core.calendar import xnys
from tradebot_core.stores.file_store import FileStore

BROKEN = {
    "a strategy that is not there": WITH_CLOCK.replace("ValueInvestor", "NoSuchThing"),
    "a collector that is not there": WITH_CLOCK.replace(
        "strategies:", "collectors:\n  - {{name: bars, class_path: tradebot_core.nothing.Bars}}\nstrategies:", 1
    ),
    "an unknown key": WITH_CLOCK + "moode: paper\n",
    "a limit out of reach": WITH_CLOCK.replace("max_position_weight: 0.4", "max_position_weight: 4"),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_halt_and_resume_work_with_a_configuration_that_is_broken(desk, text):
    config = desk.folder / "config.yaml"
    config.write_text(text.format(store=desk.folder / "store"))
    ledger = FileStore(desk.folder / "store", xnys(), fictional=True).ledger
    assert desk.run("status").exit_code == 2
    assert desk.json("halt", "odd prices") == {"halted": "odd prices"}
    assert ledger.halted() == "odd prices"
    assert desk.json("resume") == {"halted": None, "was_halted": "odd prices"}
    assert ledger.halted() is None


def test_halt_needs_no_sample_clock(desk):
    desk.clock.path.unlink()
    assert desk.json("halt", "odd prices") == {"halted": "odd prices"}


def test_a_refused_configuration_says_what_is_wrong_and_which_store_was_halted(desk):
    config = desk.folder / "config.yaml"
    config.write_text(config.read_text() + "moode: paper\n")
    result = desk.run("halt", "odd prices")
    assert result.exit_code == 0
    assert "moode: no such setting" in result.stderr and str(desk.folder / "store") in result.stderr


@pytest.mark.parametrize(
    "text", ["moode: paper\n", "data_store: {path: ./elsewhere}\nmoode: paper\n", "a: [\n", "data_store: 5\n"]
)
def test_without_a_store_to_find_the_refusal_stands(desk, text):
    (desk.folder / "config.yaml").write_text(text)
    assert desk.run("halt", "odd prices").exit_code == 2
    assert not (desk.folder / "elsewhere").exists() and not (desk.folder / "data").exists()
