"""`tradebot simulate-tws`: the sample market behind a socket that speaks as TWS does."""

import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import click

from tradebot_core.errors import UsageError
from tradebot_core.simulation.faults import CATALOGUE, parse_fault
from tradebot_core.wiring import load
from tradebot_dagster.cli.output import emit, progress
from tradebot_dagster.serving import LOOPBACK, require_free


@click.command("simulate-tws")
@click.option("--port", type=click.IntRange(0, 65535), help="Default: the port of the ibkr block, else 7497.")
@click.option("--cash", type=float, default=100_000.0, show_default=True, help="USD in the account when it is opened.")
@click.option("--read-only", is_flag=True, help="Refuse orders, as the gateway's setting does.")
@click.option(
    "--fault", "faults", multiple=True, help="What goes wrong, and where: no_ack@order:3. May be given several times."
)
@click.option("--list-faults", is_flag=True, help="List the faults and where they can happen, and serve nothing.")
@click.option(
    "--market-data",
    type=click.Choice(["live", "delayed", "none"]),
    default="delayed",
    show_default=True,
    help="What the login may see of prices; none is error 354.",
)
@click.option("--other", "others", multiple=True, help="One more account of the login, such as DU0000002; may be repeated.")
@click.option("--by-hand", is_flag=True, help="Read from standard input what a person does, a line for each: buy AAPL 10.")
@click.pass_obj
def simulate_tws(
    config_path: Path,
    port: int | None,
    cash: float,
    read_only: bool,
    market_data: str,
    others: Sequence[str],
    by_hand: bool,
    faults: Sequence[str],
    list_faults: bool,
) -> None:
    """Serve the sample market as a simulated TWS on 127.0.0.1 until Ctrl-C: contracts, bars, prices, orders, account.

    The market is fictional and its time is the sample market's clock. With --by-hand it also does what a line of standard input
    says, and answers with a line: buy AAPL 10, sell AAPL 5, cancel PERMID, cash -5000, correct AAPL 187.31 (the last execution),
    split AAPL 2, dividend AAPL 0.25 (both at the next open), link lost, link restored, link data-lost, account,
    fault no_ack@order:1 (counted from then).

    \b
    A fault happens once, at the first connection, order or request of its place, or where it is told to:
      no_ack@order:3      the third order      no_ack@order:2-4    the second to the fourth
      no_ack              the first            no_ack@order:3-     all from the third on

    \b
    Example: tradebot simulate-tws --port 7497
    Example: tradebot simulate-tws --fault no_ack@order:3 --fault error_326
    Example: tradebot simulate-tws --by-hand
    """
    if list_faults:
        _list_faults()
        return
    scripted = [parse_fault(text) for text in faults]
    bot = load(config_path)
    sample, ibkr = bot.config.sample_market, bot.config.ibkr
    if sample is None:
        raise UsageError(f"{config_path} has no sample_market block to serve.", "Add one, or use config.yaml as it came.")
    from tradebot_core.simulation.by_hand_lines import perform  # noqa: PLC0415
    from tradebot_core.simulation.market_data import MarketData  # noqa: PLC0415
    from tradebot_core.simulation.tws import SimulatedTws, serve  # noqa: PLC0415
    from tradebot_core.simulation.tws_quotes import MarketDataAccess  # noqa: PLC0415

    bot.clock.now()  # a market that was never prepared has no clock
    port = port or (ibkr.port if ibkr else 7497)
    require_free(port)
    account = ibkr.account if ibkr else "DU0000001"
    state = sample.path / "broker_account.json"
    tws = SimulatedTws(
        MarketData.read(sample.path),
        bot.clock,
        account,
        Decimal(str(cash)),
        state,
        others=others,
        calendar=bot.calendar,
        read_only=read_only,
        faults=scripted,
        market_data=MarketDataAccess(market_data),
    )
    progress(f"Simulated TWS, account {', '.join((account, *others))}, on {LOOPBACK}:{port}. Fictional market. Ctrl-C ends it.")
    if scripted:
        progress(f"Scripted faults: {', '.join(map(str, scripted))}.")

    def listen() -> None:
        for line in sys.stdin:
            click.echo(perform(tws.by_hand, line))

    serve(tws, LOOPBACK, port, listen if by_hand else None)


def _list_faults() -> None:
    width = max(map(len, CATALOGUE))
    lines = [f"{kind:<{width}}  {entry.says}\n{'':{width}}  at {', '.join(entry.places)}" for kind, entry in CATALOGUE.items()]
    document = [{"fault": kind, "says": entry.says, "places": entry.places} for kind, entry in CATALOGUE.items()]
    emit(document, "\n".join(lines))
