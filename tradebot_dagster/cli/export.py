"""`tradebot export`: tables of the store as files."""

import hashlib
from datetime import date, datetime
from pathlib import Path

import click

from tradebot_core.errors import UsageError
from tradebot_core.quant.adjust import Adjustment
from tradebot_core.trading.company import Reports
from tradebot_core.trading.fundamentals_view import Period
from tradebot_core.trading.live import LIVE, REVIEW
from tradebot_core.wiring import BACKTEST, load
from tradebot_dagster.cli.arguments import DAY, INSTANT, instant_of, sleeve_of
from tradebot_dagster.cli.output import emit, wants_json
from tradebot_dagster.cli.tables import FACTS, OF_A_STRATEGY, TABLES, Selection, table_of
from tradebot_dagster.cli.writing import FORMATS, contents, write


@click.command()
@click.argument("table", type=click.Choice(TABLES), metavar="TABLE")
@click.option("--strategy", help="For the tables of a strategy; needed when more than one is enabled.")
@click.option(
    "--book",
    type=click.Choice([BACKTEST, LIVE, REVIEW]),
    help="Whose decisions, orders ...: of the backtest, of the live book, or reviews (decided without the right to trade: no orders). "
    "Unlike explain, which prefers live, it is always the backtest unless said.  [default: backtest]",
)
@click.option("--layer", help="For layers: only this one.")
@click.option("--start", type=DAY, help="First session (or day).")
@click.option("--end", type=DAY, help="Last session (or day).")
@click.option(
    "--as-of", type=INSTANT, help="For what was collected: as the market knew it then (a day: at its cut-off).  [default: now]"
)
@click.option(
    "--reports",
    type=click.Choice([str(which) for which in Reports]),
    help="For facts: every report of a number, as first filed, or as the last filing known at --as-of has it.  [default: all]",
)
@click.option(
    "--period",
    type=click.Choice([str(length) for length in Period]),
    help="For fundamentals: of twelve months, or of each fiscal year or quarter known at --as-of.  [default: ttm]",
)
@click.option(
    "--adjusted",
    type=click.Choice([str(kind) for kind in Adjustment]),
    help="For bars: prices for splits, or for splits and dividends (total return), by what was known and in effect at --as-of. "
    "Adds price_factor and volume_factor.  [default: raw]",
)
@click.option("--format", "form", type=click.Choice(FORMATS), required=True)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="The file; - for standard output (csv, json)."
)
@click.pass_obj
def export(
    config_path: Path,
    table: str,
    strategy: str | None,
    book: str | None,
    layer: str | None,
    start: date | None,
    end: date | None,
    as_of: date | datetime | None,
    reports: str | None,
    period: str | None,
    adjusted: str | None,
    form: str,
    output: Path,
) -> None:
    """Write TABLE to a file: the same rows, the same bytes.

    Of fundamentals it is one row for each company, as known at --as-of; with --start or --end every row that became known
    between them; with --period annual or quarterly one row for each company and fiscal period.

    \b
    TABLE is one of
      bars facts fundamentals securities actions events    what was collected
      layers decisions orders fills positions equity       what a strategy made of it
      quarantine                                           what was refused, and why

    \b
    Examples:
      tradebot export decisions --strategy value_investor --format csv -o decisions.csv
      tradebot export fills --strategy value_investor --book live --format csv -o -
      tradebot export fundamentals --as-of 2019-03-01 --format parquet -o known.parquet
      tradebot export fundamentals --period annual --format csv -o years.csv
      tradebot export facts --reports first --format parquet -o as_first_filed.parquet
      tradebot export bars --adjusted total --as-of 2019-03-01 --format csv -o -
      tradebot export quarantine --format json -o -
    """
    if start is not None and end is not None and start > end:
        raise UsageError(f"The range from {start} to {end} is empty.", "Give a start that is not after the end.")
    of_strategy: dict[str, object] = {"--strategy": strategy, "--book": book, "--layer": layer}
    of_facts: dict[str, object] = {"--as-of": as_of, "--reports": reports, "--period": period, "--adjusted": adjusted}
    _refuse_idle_options(table, of_strategy | of_facts)
    to_stdout = str(output) == "-"
    if to_stdout and form == "parquet":
        raise UsageError("Parquet is not written to standard output.", "Give a file with -o, or --format csv.")
    if to_stdout and form != "json" and wants_json():
        raise UsageError(
            f"With --json standard output is one JSON document, not {form}.", "Give a file with -o, or --format json."
        )
    bot = load(config_path)
    if table in OF_A_STRATEGY:
        strategy = sleeve_of(bot, strategy).name
    known_at = instant_of(as_of, bot)
    asked = Reports(reports or Reports.ALL), Period(period or Period.TWELVE_MONTHS), Adjustment(adjusted) if adjusted else None
    rows = table_of(bot, table, Selection(strategy, book or BACKTEST, layer, start, end, known_at, *asked))
    if to_stdout:
        click.echo(contents(rows, form).decode(), nl=False)
        return
    write(rows, form, output)
    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    document = {"table": table, "rows": len(rows), "file": output, "format": form, "sha256": digest}
    emit(document, f"{len(rows)} rows of {table} in {output}")


def _refuse_idle_options(table: str, given: dict[str, object]) -> None:
    """An option that would change nothing is a misunderstanding."""
    allowed = {"--as-of"} if table in FACTS else {"--strategy", "--book"} if table in OF_A_STRATEGY else set()
    allowed |= {"layers": {"--layer"}, "facts": {"--reports"}, "fundamentals": {"--period"}, "bars": {"--adjusted"}}.get(
        table, set()
    )
    if table == "layers":
        allowed.discard("--book")
    idle = [option for option, value in given.items() if value is not None and option not in allowed]
    if idle:
        hint = f"It takes {', '.join(sorted(allowed))}." if allowed else "It takes --start and --end only."
        raise UsageError(f"{idle[0]} means nothing for {table}.", hint)
