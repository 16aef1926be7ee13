"""What the doctor finds at a gateway, each fault with its mend. Faults that the simulated TWS lacks are put on the wire to it."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tests.ibkr.conftest import ACCOUNT, TUESDAY, at
from tests.ibkr.wire import HISTORY, Wire, refused, through
from tradebot_core.clock import FixedClock
from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.ibkr.connection import Client, run
from tradebot_core.ibkr.contracts import Named
from tradebot_core.ibkr.diagnosis import What, diagnose
from tradebot_core.model.finding import Finding, Level
from tradebot_core.simulation.tws_quotes import MarketDataAccess

NOW = at(TUESDAY, 18).astimezone(UTC)
AAA = Named("AAA", 101)
OPEN_ORDERS, START = "5", "71"


def findings(
    port: int,
    *,
    mode: Mode = Mode.PAPER,
    share: Named | None = AAA,
    now: datetime = NOW,
    account: str = ACCOUNT,
    what_if: bool = False,
) -> list[Finding]:
    return list(diagnose(IbkrSettings(port=port, account=account), mode, FixedClock(now), share, what_if=what_if))


def of(found: list[Finding], what: What) -> Finding:
    (finding,) = [finding for finding in found if finding.what is what and finding.level is not Level.OK]
    return finding


def test_a_sound_gateway_is_sound_in_every_point(port):
    found = findings(port)
    assert {finding.level for finding in found} == {Level.OK}
    assert [finding.what for finding in found] == [
        What.ACCOUNT,
        What.LINK,
        What.CLOCK,
        What.ORDERS,
        What.DATA,
        What.DATA,
        What.PRICES,
        What.WRITER,
    ]
    assert "logged in to DU0000001 (paper)" in found[0].text
    assert "AAA is contract 101 (NYSE)" in found[4].text


def test_nothing_listens():
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        (finding,) = findings(unused.getsockname()[1], account="DU1234567")
    assert (finding.what, finding.level) == (What.GATEWAY, Level.FAIL)
    assert "Nothing answers" in finding.text and "gateway 4001 live, 4002 paper" in finding.mend


@contextmanager
def listening(closes: bool) -> Iterator[int]:
    """As socat in front of a gateway that is down (accepts, then closes), or as a gateway that waits for a login (says nothing)."""
    kept = []
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def accept() -> None:
            while True:
                try:
                    taken, _ = server.accept()
                except OSError:
                    return
                if closes:
                    taken.close()
                kept.append(taken)

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    for taken in kept:
        taken.close()


@pytest.mark.parametrize(("closes", "said"), [(True, "does not serve the API"), (False, "no answer in 8 s")])
def test_a_port_behind_which_no_api_answers_points_to_the_sign_in(closes, said):
    with listening(closes) as port:
        (finding,) = findings(port)
    assert (finding.what, finding.level) == (What.GATEWAY, Level.FAIL)
    assert said in finding.text
    assert "Sunday at 01:00 New York" in finding.mend and "Trusted IPs" in finding.mend


def test_another_account(port):
    (finding,) = findings(port, account="DU7654321")
    assert (finding.what, finding.level) == (What.ACCOUNT, Level.FAIL)
    assert "logged in to DU0000001, not to DU7654321" in finding.text and "ibkr.account" in finding.mend


def test_a_live_account_in_paper_mode(gateway):
    with gateway.serving(account="U1234567") as port:
        (finding,) = findings(port, account="U1234567")
    assert (finding.what, finding.level) == (What.ACCOUNT, Level.FAIL)
    assert "Mode is paper, but the gateway is logged in to the live account U1234567" in finding.text


def test_a_paper_account_in_live_mode(port):
    (finding,) = findings(port, mode=Mode.LIVE)
    assert (finding.what, finding.level) == (What.ACCOUNT, Level.FAIL)
    assert "DU0000001 is a paper account" in finding.text


def test_an_id_that_a_running_writer_holds_is_a_warning(port):
    settings = IbkrSettings(port=port, account=ACCOUNT)
    found: list[Finding] = []

    async def work(_):
        thread = threading.Thread(target=lambda: found.extend(findings(port)))
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0.05)

    run(settings, Mode.PAPER, work, client=Client.ORDERS)
    finding = of(found, What.WRITER)
    assert finding.level is Level.WARN and "Client id 1 is in use" in finding.text


def test_the_doctors_own_id_in_use(port):
    wire = Wire(
        port,
        lambda fields: (
            refused("-1", 326, "Unable to connect as the client id is already in use.") if fields[0] == START else None
        ),
    )
    with through(wire) as end:
        (finding,) = findings(end)
    assert (finding.what, finding.level) == (What.GATEWAY, Level.FAIL)
    assert "Client id 15 is in use" in finding.text


def test_a_gateway_that_has_lost_ibkr(port):
    def lost(fields):
        return refused("-1", 1100, "Connectivity between IBKR and the gateway has been lost.") if fields[0] == "49" else None

    with through(Wire(port, lost)) as end:
        found = findings(end)
    finding = of(found, What.LINK)
    assert finding.level is Level.FAIL and "IBKR 1100" in finding.text and "system status page" in finding.mend
    assert not any(other.what in (What.ORDERS, What.DATA) for other in found)  # nothing to be learnt from them now


READ_ONLY = "Error validating request.-'bW' : cause - The API interface is currently in Read-Only mode."


@pytest.mark.parametrize(("mode", "level"), [(Mode.PAPER, Level.FAIL), (Mode.DRY_RUN, Level.OK)])
def test_a_read_only_api_is_in_the_way_of_orders_alone(port, mode, level):
    wire = Wire(port, lambda fields: refused("-1", 321, READ_ONLY) if fields[0] == OPEN_ORDERS else None)
    with through(wire) as end:
        found = findings(end, mode=mode)
    (finding,) = [finding for finding in found if finding.what is What.ORDERS]
    assert finding.level is level and "read-only" in finding.text
    if level is Level.FAIL:
        assert "clear Read-Only API" in finding.mend


@pytest.mark.parametrize(
    ("code", "text", "level", "mend"),
    [
        (
            162,
            "Historical Market Data Service error message:No market data permissions for NYSE STK",
            Level.FAIL,
            "Client Portal",
        ),
        (10197, "No market data during competing live session", Level.FAIL, "end that session"),
        (420, "Historical data request pacing violation", Level.WARN, "Wait some minutes"),
        (162, "Historical Market Data Service error message:HMDS query returned no data", Level.WARN, "docs/ibkr.md"),
    ],
)
def test_daily_bars_that_do_not_come(port, code, text, level, mend):
    wire = Wire(port, lambda fields: refused(fields[1], code, text) if fields[0] == HISTORY else None)
    with through(wire) as end:
        finding = of(findings(end), What.DATA)
    assert finding.level is level and text in finding.text and mend in finding.mend


def test_a_share_that_cannot_be_resolved(port):
    finding = of(findings(port, share=Named("ZZZ")), What.DATA)
    assert finding.level is Level.FAIL and "which share ZZZ is" in finding.text and "con_id" in finding.mend


def test_no_security_to_ask_about(port):
    finding = of(findings(port, share=None), What.DATA)
    assert finding.level is Level.WARN and "Collect the securities" in finding.mend


@pytest.mark.parametrize(
    ("seconds", "level"), [(0, None), (1.5, None), (-3, Level.WARN), (29, Level.WARN), (32, Level.FAIL), (-3600, Level.FAIL)]
)
def test_clocks_that_differ(port, seconds, level):
    found = findings(port, now=NOW + timedelta(seconds=seconds))
    (finding,) = [finding for finding in found if finding.what is What.CLOCK]
    assert finding.level is (level or Level.OK)
    assert (level is None) or "NTP" in finding.mend


def test_the_sample_markets_clock_is_not_compared(port):
    settings = IbkrSettings(port=port, account=ACCOUNT)
    found = list(diagnose(settings, Mode.PAPER, FixedClock(NOW + timedelta(days=9)), AAA, same_time=False))
    assert What.CLOCK not in {finding.what for finding in found} and {finding.level for finding in found} == {Level.OK}


def test_within_a_restart_the_findings_are_said_to_be_of_the_moment(gateway):
    gateway.clock.set(at(TUESDAY, 23, 43))
    with gateway.serving() as port:
        found = findings(port, now=at(TUESDAY, 23, 43).astimezone(UTC))
    finding = of(found, What.HOURS)
    assert finding.level is Level.WARN and "the gateway restarts at 23:45 New York" in finding.text


def test_nothing_like_an_order_is_sent(port):
    asked: list[str] = []
    wire = Wire(port, lambda fields: asked.append(fields[0]))
    with through(wire) as end:
        findings(end)
    assert "3" not in asked and OPEN_ORDERS in asked


# Prices of the moment, and the preview of an order


def finding_of(found: list[Finding], what: What) -> Finding:
    (finding,) = [finding for finding in found if finding.what is what]
    return finding


def test_prices_are_said_to_be_delayed_or_live(gateway):
    for access, said in ((MarketDataAccess.DELAYED, "delayed"), (MarketDataAccess.LIVE, "live")):
        with gateway.serving(market_data=access) as port:
            found = finding_of(findings(port), What.PRICES)
        assert found == Finding(Level.OK, What.PRICES, f"{said} prices of AAA come (last 16.5, previous close 15.5)")


def test_a_login_without_market_data_is_warned_of_what_that_means(gateway):
    with gateway.serving(market_data=MarketDataAccess.NONE) as port:
        found = of(findings(port), What.PRICES)
    assert found.level is Level.WARN
    assert "no price of AAA at this moment (IBKR 354" in found.text
    assert "risk.fresh_quote" in found.mend


PLACE_ORDER = "3"


def test_without_being_asked_to_the_doctor_sends_nothing_that_looks_like_an_order(port):
    sent: list[str] = []
    with through(Wire(port, lambda fields: sent.append(fields[0]))) as before:
        findings(before)
    assert PLACE_ORDER not in sent
    assert "1" in sent  # it was the wire that was looked at


def test_a_preview_names_margin_and_commission_and_places_nothing(gateway):
    with gateway.serving(state_path=None) as port:
        found = finding_of(findings(port, what_if=True), What.PREVIEW)
        listed = run(
            IbkrSettings(port=port, account=ACCOUNT), Mode.PAPER, lambda ib: ib.reqAllOpenOrdersAsync(), client=Client.ORDERS
        )
    assert found.level is Level.OK
    assert "(initial margin 16.5, commission 0.165, equity with loan after 9999.835)" in found.text
    assert listed == []


def test_a_preview_that_the_broker_would_refuse_is_a_failure_with_its_code(gateway):
    with gateway.serving(cash=Decimal(10)) as port:
        found = of(findings(port, what_if=True), What.PREVIEW)
    assert (found.level, "IBKR 201" in found.text) == (Level.FAIL, True)
    assert "Available Funds are insufficient" in found.text


def test_a_preview_that_is_never_answered_proves_nothing(port, monkeypatch):
    monkeypatch.setattr("tradebot_core.ibkr.diagnosis._ANSWER_TIMEOUT_S", 0.3)
    with through(Wire(port, lambda fields: [] if fields[0] == PLACE_ORDER else None)) as before:
        found = of(findings(before, what_if=True), What.PREVIEW)
    assert (found.level, "proves nothing" in found.mend) == (Level.WARN, True)


@pytest.mark.parametrize("code", [203, 460])
def test_a_share_that_the_account_may_not_buy_is_a_failure(port, code):
    def refuse(fields):
        return refused(fields[1], code, "No trading permission") if fields[0] == PLACE_ORDER else None

    with through(Wire(port, refuse)) as before:
        assert of(findings(before, what_if=True), What.PREVIEW).level is Level.FAIL
