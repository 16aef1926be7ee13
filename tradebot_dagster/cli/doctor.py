"""`tradebot doctor`: the set-up examined, each finding with its mend."""

import os
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click
import polars as pl

from tradebot_core.clock import SystemClock
from tradebot_core.config import Config, IbkrSettings, Mode
from tradebot_core.errors import TradebotError
from tradebot_core.model.finding import Finding, Level
from tradebot_core.model.tables import SECURITIES
from tradebot_core.simulation.sample_market import SampleMarket
from tradebot_core.stores.halt_file import HaltFile
from tradebot_core.wiring import Tradebot, load
from tradebot_dagster.cli.output import emit

OK, WARN, FAIL = Level
GATEWAY, ACCOUNT = "ibkr gateway", "ibkr account"
_LEAST_FREE_GB, _COMFORTABLE_FREE_GB = 0.5, 5
_CALENDAR_HORIZON_DAYS = 60
_FETCHED_INTO = "cache_path"  # the folder in which a collector keeps what it fetches


@click.command()
@click.option(
    "--what-if", is_flag=True, help="Also ask the broker for a preview of an order for one share, which is not placed."
)
@click.pass_obj
def doctor(config_path: Path, what_if: bool) -> int:
    """Examine the set-up: Python, packages, configuration, store, disk, calendar, sources, broker. Exit code 1 on a failure.

    \b
    Example: tradebot doctor --config my.yaml
    """
    findings = list(examine(config_path, what_if=what_if))
    document = {"healthy": all(finding.level != FAIL for finding in findings), "findings": findings}
    emit(document, "\n".join(map(_lines, findings)))
    return 0 if document["healthy"] else 1


def examine(config_path: Path, *, what_if: bool = False) -> Iterator[Finding]:
    yield _python()
    yield _dagster_packages()
    try:
        bot = load(config_path)
    except TradebotError as error:
        yield Finding(FAIL, "configuration", error.cause, error.mend)
        return
    yield Finding(OK, "configuration", f"{config_path} is sound; strategies: {', '.join(bot.sleeves) or 'none is enabled'}")
    yield _store(bot)
    if bot.config.mode is Mode.LIVE:
        yield _arming(bot)
    yield _disk(bot.config)
    yield _calendar(bot)
    yield from _sources(bot.config)
    if bot.config.sample_market is not None:
        yield _sample_market(bot.config.sample_market.path)
    if bot.config.ibkr is not None:
        yield from _broker(bot, bot.config.ibkr, what_if)


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        return Finding(
            WARN,
            "python",
            f"Python {found} without compiled bytecode: Dagster starts three times slower.",
            "Unset PYTHONDONTWRITEBYTECODE.",
        )
    return Finding(OK, "python", f"Python {found}")


def _dagster_packages() -> Finding:
    names = ("dagster", "dagster-webserver", "dagster-graphql")
    try:
        found = {name: version(name) for name in names}
    except PackageNotFoundError as error:
        return Finding(FAIL, "packages", f"{error.name} is not installed.", "Run `make setup`.")
    if len(set(found.values())) > 1:
        listed = ", ".join(f"{name} {release}" for name, release in found.items())
        return Finding(FAIL, "packages", f"Dagster's parts are of different releases: {listed}.", "Run `make setup`.")
    return Finding(OK, "packages", f"Dagster {found['dagster']}")


def _store(bot: Tradebot) -> Finding:
    """That it loads has been shown: a store of a newer schema does not."""
    folder = bot.config.data_store.path
    if not os.access(folder, os.W_OK):
        return Finding(FAIL, "store", f"{folder} cannot be written to.", "Change its owner or rights, or data_store.path.")
    try:
        halted = bot.store.ledger.halted()
    except TradebotError as error:
        by_file = HaltFile(folder).reason()
        trading = f" Trading is halted by the file HALT: {by_file}." if by_file is not None else ""
        return Finding(FAIL, "store", f"{error.cause}{trading}", error.mend)
    if halted is not None:
        return Finding(WARN, "store", f"Trading is halted: {halted}.", "`tradebot resume` ends the halt.")
    return Finding(OK, "store", f"{folder} can be read and written")


def _arming(bot: Tradebot) -> Finding:
    now = bot.clock.now()
    try:
        until, why_not = bot.arming.armed_until(now), bot.arming.why_not(now)
    except TradebotError as error:
        return Finding(FAIL, "arming", error.cause, error.mend)
    if until is None:
        return Finding(WARN, "arming", why_not)
    return Finding(OK, "arming", f"{bot.arming.account} is armed until {until:%Y-%m-%d %H:%M} UTC")


def _disk(config: Config) -> Finding:
    free = shutil.disk_usage(config.data_store.path).free / 1e9
    text, mend = f"{free:,.1f} GB are free where the store is", "Free some space, or move data_store.path."
    level = FAIL if free < _LEAST_FREE_GB else WARN if free < _COMFORTABLE_FREE_GB else OK
    return Finding(level, "disk", text, "" if level == OK else mend)


def _calendar(bot: Tradebot) -> Finding:
    left = (bot.calendar.last - datetime.now(UTC).date()).days
    text = f"The calendar of sessions reaches to {bot.calendar.last}."
    if left > _CALENDAR_HORIZON_DAYS:
        return Finding(OK, "calendar", text)
    return Finding(
        FAIL if left <= 0 else WARN, "calendar", text, "Update Tradebot: each release brings the exchange's new days."
    )


def _sources(config: Config) -> Iterator[Finding]:
    if not config.collectors:
        yield Finding(WARN, "sources", "No collector is configured: nothing new comes into the store.", "Add collectors.")
    for block in config.collectors:
        given = {key: path for key, path in block.params.items() if isinstance(path, Path)}
        missing = [path for key, path in given.items() if key != _FETCHED_INTO and not path.exists()]
        if _FETCHED_INTO in given:
            yield _fetched_files(block.name, given[_FETCHED_INTO])
        elif missing:
            sample = config.sample_market
            mend = (
                "Run `tradebot demo` once."
                if sample is not None and missing[0].is_relative_to(sample.path)
                else "Correct the path in the configuration, or put the file there."
            )
            if sample is None and ".edgar." in block.class_path:
                mend += " edgar_api.EdgarApi and edgar_bulk.EdgarBulk fetch the SEC's files themselves."
            yield Finding(FAIL, block.name, f"{missing[0]} does not exist.", mend)
        else:
            yield Finding(OK, block.name, "its source is there")


def _fetched_files(name: str, folder: Path) -> Finding:
    """Of a collector that fetches its files itself: its folder may come with the first collection, if it can be made."""
    standing = next(place for place in (folder, *folder.parents) if place.exists())
    if not (standing.is_dir() and os.access(standing, os.W_OK)):
        return Finding(FAIL, name, f"{folder} cannot be written to.", "Change its owner or rights, or params.cache_path.")
    return Finding(
        OK, name, f"its files are kept in {folder}" + ("" if folder.exists() else ", which the first collection makes")
    )


def _sample_market(folder: Path) -> Finding:
    market = SampleMarket(folder)
    needed = (market.bars, market.actions, market.securities, market.clock_path)
    missing = [path.name for path in needed if not path.is_file()]
    if missing:
        return Finding(
            FAIL, "sample market", f"{folder} lacks {', '.join(missing)}.", "Run `tradebot demo` once to prepare it."
        )
    return Finding(OK, "sample market", f"prepared in {folder} (fictional)")


def _broker(bot: Tradebot, ibkr: IbkrSettings, what_if: bool) -> Iterator[Finding]:
    """The gateway, asked about a share of the store."""
    from tradebot_core.ibkr.contracts import Named  # noqa: PLC0415  ib_async is only loaded where it is used
    from tradebot_core.ibkr.diagnosis import diagnose  # noqa: PLC0415

    sample = bot.config.sample_market is not None
    try:
        clock = bot.clock if sample else SystemClock()
        known = bot.store.read(SECURITIES, as_of=datetime.max.replace(tzinfo=UTC))
    except TradebotError as error:
        yield Finding(FAIL, GATEWAY, error.cause, error.mend)
        return
    listed = known.filter(pl.col("valid_to").is_null() | (pl.col("valid_to") >= datetime.now(UTC).date()))
    listed = listed.sort(pl.col("con_id").is_not_null(), "valid_from")  # best one that the broker has named before
    share = Named(listed["symbol"][-1], listed["con_id"][-1]) if listed.height else None
    yield from diagnose(ibkr, bot.config.mode, clock, share, same_time=not sample, what_if=what_if)


def _lines(finding: Finding) -> str:
    line = f"{finding.level:<5} {finding.what}: {finding.text}"
    return f"{line}\n      {finding.mend}" if finding.mend else line
