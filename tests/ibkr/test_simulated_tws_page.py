"""docs/simulated-tws.md says what the simulated TWS does, and its examples run."""

import re
from pathlib import Path

import pytest

from tests.ibkr.conftest import ACCOUNT, intent
from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.errors import OrderUnknown
from tradebot_core.execution.ibkr import IbkrEngine
from tradebot_core.model.order import OrderState
from tradebot_core.simulation.faults import CATALOGUE
from tradebot_core.simulation.tws_protocol import SERVER_VERSION

PAGE = (Path(__file__).parents[2] / "docs" / "simulated-tws.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_table_of_faults_is_the_catalogue():
    rows = re.findall(r"^\| `(\w+)` \| ([a-z_, ]+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert rows == [(kind, ", ".join(entry.places), entry.says) for kind, entry in CATALOGUE.items()]


def test_the_page_names_the_version_that_is_served():
    assert f"server version {SERVER_VERSION}" in PAGE


def test_the_client_of_the_page_runs(port, capsys):
    exec(compile(EXAMPLES[0].replace("7497", str(port)).replace("ZFADE", "AAA"), "simulated-tws.md", "exec"), {})
    assert capsys.readouterr().out == "5 PreSubmitted\n"


def test_the_test_bench_of_the_page_runs(tmp_path, monkeypatch, capsys):
    """With our engine in place of its dots."""
    sent, found = intent("ZFADE"), []

    def engine(port: int) -> IbkrEngine:
        return IbkrEngine(IbkrSettings(port=port, account=ACCOUNT), Mode.PAPER, acknowledge_timeout_s=0.5)

    def order(port: int) -> None:
        with pytest.raises(OrderUnknown):
            engine(port).submit(sent)

    def look(port: int) -> None:
        found.append(engine(port).get_order_status(sent.key).state)

    example = EXAMPLES[1]
    for dots, call in (("...  ", "order(port)"), ("...  ", "look(port)")):
        assert dots in example
        example = example.replace(dots, call, 1)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "simulated-tws.md", "exec"), {"order": order, "look": look})
    printed = capsys.readouterr().out
    assert found == [OrderState.FILLED]
    assert "FaultKind.NO_ACK" in printed and "status='Filled'" in printed
