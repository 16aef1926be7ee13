"""`tradebot demo`: the whole loop on the sample market, through a real Dagster instance.

The market is fictional, its clock is ours: backtests run as backfills, then the clock is moved from session to session while
the schedule decides, the sensor submits, and the orders fill at the next open.
"""

import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import click

from tradebot_core.calendar import NEW_YORK
from tradebot_core.clock import SampleClock
from tradebot_core.errors import ConfigurationError, ExecutionError
from tradebot_core.model.tables import DECISIONS
from tradebot_core.simulation.sample_market import BACKTEST_END, BACKTEST_START, LAST_SESSION, prepare
from tradebot_core.stores.halt_file import HaltFile
from tradebot_core.trading.explain import explain, render_text
from tradebot_core.wiring import BACKTEST, Tradebot, load
from tradebot_dagster.serving import require_free, serve, webserver_url
from tradebot_dagster.webserver import Webserver

_PATIENCE_S = 600
_PAUSE_BETWEEN_SESSIONS_S = 300
_OF_THE_STORE = (
    *(
        "facts",
        "results",
        "reports",
        "quarantine.parquet",
        "absent.parquet",
        "simulated_engine.jsonl",
        "dry_run.jsonl",
        "alerts.jsonl",
    ),
    *("dagster", "dagster.log", "logs", "holds", "schema_version", ".lock"),
)
_OF_THE_MARKET = ("clock", "broker_account.json")


@dataclass(frozen=True)
class SampleRun:
    """One demonstration: a Tradebot on the sample market, its clock, and the running instance."""

    bot: Tradebot
    clock: SampleClock
    server: Webserver
    process: "subprocess.Popen[bytes]"
    log: Path

    def backtest(self, strategies: Sequence[str], start: date, end: date) -> None:
        sessions = [day.isoformat() for day in self.bot.calendar.sessions(start, end)]
        sources = [[name] for name in self.bot.collectors]
        backfills = {}
        for name in strategies:
            layers = [layer.name for layer in self.bot.sleeve(name).strategy.layers()]
            assets = sources + [[name, step] for step in (*layers, "backtest", "performance")]
            backfills[name] = self.server.launch_backfill(assets, sessions, f"{name} {start} to {end}")
        for name, backfill in backfills.items():
            self.server.wait_for_backfill(backfill, _PATIENCE_S)
            figures = self.bot.performance(name)
            click.echo(
                f"  {name}: {figures.sessions} sessions, {figures.trades} trades, {figures.total_return:+.1%} in all, "
                f"deepest fall {figures.max_drawdown:.1%}"
            )

    def live_session(self, session: date) -> None:
        """Moves the clock past the session's cut-off and waits for schedule and sensor, then past the next open, for the fills."""
        self.clock.set(_morning_after(session))
        ledger, names, opens_on = self.bot.store.ledger, list(self.bot.sleeves), self.bot.calendar.next(session)
        self.wait_for("decisions", lambda: all(ledger.live_decisions(name, session) for name in names))
        self.wait_for("orders", lambda: all(ledger.is_planned(name, session) for name in names))
        self.wait_for("the broker's word", lambda: not any(self._unsent(name, session) for name in names))
        for name in names:
            orders = ledger.orders(name, session, session).filter("approved")
            placed = ", ".join(f"{o['side']} {o['quantity']} {o['symbol']}" for o in orders.iter_rows(named=True))
            click.echo(f"  {session} {name}: decided; orders for the next open: {placed or 'none'}")
        now = _trading_hours(opens_on)
        self.clock.set(now)
        # The same day: a broker shows executions until midnight.
        self.wait_for("fills", lambda: not any(self.bot.desk.orders_past_their_open(name, now) for name in names))
        for name in names:
            fills = ledger.fills(name, opens_on, opens_on)
            filled = ", ".join(
                f"{f['side']} {f['quantity']} {f['symbol']} at {float(f['price']):.2f}" for f in fills.iter_rows(named=True)
            )
            if filled:
                click.echo(f"  {opens_on} {name}: filled at the open: {filled}")

    def _unsent(self, strategy: str, session: date) -> list[str]:
        return [
            i.key
            for i, state in self.bot.store.ledger.open_orders(strategy)
            if i.session == session and state in ("new", "sending")
        ]

    def wait_for(self, what: str, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not done():
            if self.process.poll() is not None:
                raise ExecutionError("The Dagster processes ended.", f"Their output is in {self.log}.")
            if time.monotonic() > deadline:
                raise ExecutionError(f"No {what} after {_PATIENCE_S} s.", f"Look at the runs: {self.server.url}/runs")
            time.sleep(0.5)


@click.command()
@click.option(
    "--sessions",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Live paper sessions to run after the backtests.",
)
@click.option("--stay", is_flag=True, help="Leave the Dagster UI up; the sample market goes on, a session every five minutes.")
@click.option("--fresh", is_flag=True, help="Forget the sample market's history and begin anew.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=3000, show_default=True, help="Port of the Dagster UI on 127.0.0.1."
)
@click.pass_obj
def demo(config_path: Path, sessions: int, stay: bool, fresh: bool, port: int) -> None:
    """The sample market: backtests by backfill, then live paper sessions, each explained.

    \b
    Example: tradebot demo --sessions 3 --stay
    """
    began = time.monotonic()
    bot = load(config_path)
    sample = bot.config.sample_market
    if sample is None:
        raise ConfigurationError(
            f"{config_path} does not use the sample market.", "The demonstration moves time; it runs on config.yaml as it came."
        )
    click.echo("Sample market: fictional companies, fictional prices, a simulated TWS as the broker.")
    if fresh:
        require_free(port)
        _forget(bot)
        bot = load(config_path)
    clock = SampleClock(prepare(sample.path).clock_path)
    start = _first_live_session(bot, clock)
    clock.set(_trading_hours(start))
    log = bot.config.data_store.path / "dagster.log"
    with serve(bot.config, config_path, port, log) as process:
        url = webserver_url(port)
        run = SampleRun(bot, clock, Webserver(url), process, log)
        run.wait_for("an answer from the Dagster UI", run.server.is_ready)
        click.echo(f"Dagster UI and daemon are up: {url}  (after {time.monotonic() - began:.0f} s)\n")
        names = list(bot.sleeves)
        if not all(bot.backtest_sessions(name) for name in names):
            click.echo(f"Backtests of {BACKTEST_START} to {BACKTEST_END}, as Dagster backfills ({url}/backfills):")
            run.backtest(names, BACKTEST_START, BACKTEST_END)
        click.echo(f"\nA decision, explained (after {time.monotonic() - began:.0f} s):\n")
        _explain_a_purchase(bot, names[0])
        click.echo(
            f"\nLive paper sessions from {start}: the schedule decides, the sensor sends to the simulated TWS, the next open fills."
        )
        session = start
        for _ in range(sessions):
            run.live_session(session)
            session = bot.calendar.next(session)
        click.echo(f"\nReady after {time.monotonic() - began:.0f} s. Where to look:\n{_where_to_look(names[0], url)}\n")
        if stay:
            click.echo(f"Open {url}")
            _go_on(run, session)


def _forget(bot: Tradebot) -> None:
    """Empties the store and sets the sample market back. What Tradebot did not put there stays, and so do the market's files."""
    store, sample = bot.config.data_store.path, bot.config.sample_market
    assert sample is not None
    entries = [
        *(store / name for name in _OF_THE_STORE),
        *store.glob("ledger.sqlite*"),
        *store.glob("trials.sqlite*"),
        HaltFile(store).path,
    ]
    for entry in (*entries, *(sample.path / name for name in _OF_THE_MARKET)):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def _first_live_session(bot: Tradebot, clock: SampleClock) -> date:
    """The session after the last one decided; a fresh market begins after the backtests."""
    if not clock.path.exists():
        return bot.calendar.next(BACKTEST_END)
    decided = [d.session for name in bot.sleeves for d in bot.store.ledger.decision_sets(name) if d.live]
    return bot.calendar.next(max(decided, default=BACKTEST_END))


def _morning_after(session: date) -> datetime:
    return datetime.combine(session + timedelta(days=1), datetime.min.time(), NEW_YORK).replace(hour=6)


def _trading_hours(session: date) -> datetime:
    return datetime.combine(session, datetime.min.time(), NEW_YORK).replace(hour=10)


def _explain_a_purchase(bot: Tradebot, strategy: str) -> None:
    bought = bot.store.read_results(DECISIONS, strategy, BACKTEST).filter(action="buy").sort("session", "security_id")
    if bought.is_empty():
        raise ExecutionError(
            f"The backtest of {strategy} bought nothing.", "The sample market is made so that it does; report it."
        )
    last = bought.row(-1, named=True)
    click.echo(
        render_text(
            explain(
                bot.store,
                bot.calendar,
                bot.sleeve(strategy).strategy,
                last["symbol"],
                last["session"],
                BACKTEST,
                bot.config.quality,
            )
        )
    )


def _where_to_look(strategy: str, url: str) -> str:
    pages = {
        "the graph, from filings to orders": f"{url}/asset-groups",
        "a backtest's equity and drawdown": f"{url}/assets/{strategy}/performance",
        "today's decisions and why": f"{url}/assets/{strategy}/decisions",
        "backfills": f"{url}/backfills",
        "schedule and sensor": f"{url}/automation",
    }
    width = max(map(len, pages))
    return "\n".join(f"  {what:<{width}}  {where}" for what, where in pages.items())


def _go_on(run: SampleRun, session: date) -> None:
    """The sample market goes on until its last session or Ctrl-C."""
    try:
        while session < LAST_SESSION:
            click.echo(f"The market goes on: {session} in {_PAUSE_BETWEEN_SESSIONS_S // 60} minutes. Ctrl-C ends it.")
            until = time.monotonic() + _PAUSE_BETWEEN_SESSIONS_S
            while time.monotonic() < until and run.process.poll() is None:
                time.sleep(1)
            run.live_session(session)
            session = run.bot.calendar.next(session)
        click.echo("The sample market has ended; `make fresh` begins it anew. Ctrl-C ends the UI.")
        run.process.wait()
    except KeyboardInterrupt:
        click.echo("\nStopping. `make run` continues where it stopped.")
