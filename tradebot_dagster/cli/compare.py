"""`tradebot compare`: two backtests side by side, which decisions differ and why."""

from dataclasses import asdict
from datetime import date
from pathlib import Path

import click

from tradebot_core.wiring import load
from tradebot_dagster.cli.arguments import DAY
from tradebot_dagster.cli.output import emit

_SHOWN = 20


@click.command()
@click.argument("one")
@click.argument("other")
@click.option("--start", type=DAY, help="First session; default: the first that both have.")
@click.option("--end", type=DAY, help="Last session; default: the last that both have.")
@click.pass_obj
def compare(config_path: Path, one: str, other: str, start: date | None, end: date | None) -> int:
    """Where the backtests of ONE and OTHER decide differently, and why.

    Each is a strategy or a variant of one: value_investor@delayed, value_investor@costs_doubled, value_investor@few (of the configuration),
    value_investor@max_positions=5 (of a sweep), value_investor@as_is (the strategy as a sweep ran it).

    \b
    book     one held it and the other did not: an earlier decision or its fill differed
    verdict  the layers passed it for one of them only: layer, rule, value, threshold
    rank     both passed it, in another place
    cash     one had the cash for it, the other not
    places   the books hold another number of positions
    decide   the decide step itself decides otherwise

    \b
    Example: tradebot compare value_investor value_investor@few --start 2024-01-02
    """
    bot = load(config_path)
    found = bot.compare(one, other, start, end)
    first, last = found.sessions[0], found.sessions[-1]
    figures = {name: asdict(bot.performance(name, first, last)) for name in (one, other)}
    sample = found.differences.head(_SHOWN).to_dicts()
    causes = found.causes.to_dicts()
    document = {
        "one": one,
        "other": other,
        "start": first,
        "end": last,
        "figures": figures,
        "decisions": found.decisions,
        "different": len(found.differences),
        "first_difference": found.first,
        "causes": causes,
        "sample": sample,
    }
    lines = [f"{first} to {last}, {len(found.sessions):,} sessions.", f"  {'':<22}{one:>28}{other:>36}"]
    for name, value in figures[one].items():
        lines.append(f"  {name.replace('_', ' '):<22}{_number(value):>28}{_number(figures[other][name]):>36}")
    lines.append(
        f"Of {found.decisions:,} decisions {len(found.differences):,} differ" + (f", since {found.first}." if causes else ".")
    )
    lines += [f"  {row['decisions']:>8,}  {row['cause']:<8} {row['detail'] or ''}".rstrip() for row in causes]
    if sample:
        lines.append(f"The first {len(sample)}:")
    for row in sample:
        said = [f"{row[f'action_{side}'] or 'nothing'} ({_why(row, side)})" for side in ("a", "b")]
        lines.append(
            f"  {row['session']} {row['symbol']:<8} {said[0]:<44} {said[1]:<44} {row['cause']} {row['detail']}".rstrip()
        )
    emit(document, "\n".join(lines))
    return 0


def _why(row: dict[str, object], side: str) -> str:
    rule, value, threshold = (row[f"{part}_{side}"] for part in ("rule", "value", "threshold"))
    return "no decision" if rule is None else f"{rule} {_number(value)} | {_number(threshold)}"


def _number(value: object) -> str:
    if value is None:
        return "-"
    return (
        f"{value:,.4g}"
        if isinstance(value, float) and abs(value) < 1000
        else f"{value:,}"
        if isinstance(value, int)
        else (f"{value:,.2f}" if isinstance(value, float) else str(value))
    )
