"""From a security and a session to the whole chain: layers, decision, orders, fills, and the filings that
each figure came from. For a name that was not bought: which rule stopped it, and by how much."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.config import DATA_CHECKS_ON, QualitySettings
from tradebot_core.errors import MissingData, UsageError
from tradebot_core.interfaces import DataStore
from tradebot_core.model.decision import Action, Verdict
from tradebot_core.model.event import EventType
from tradebot_core.model.order import OrderState
from tradebot_core.model.tables import DECISIONS, LAYERS, SECURITIES
from tradebot_core.quant.quality import PREFIX, RULES_BY_NAME
from tradebot_core.strategy import Strategy
from tradebot_core.trading import reasoning
from tradebot_core.trading.company import symbols_alike
from tradebot_core.trading.evidence import (
    DataFinding,
    FigureUsed,
    Knowledge,
    Reading,
    SourceFact,
    data_findings,
    facts_used,
    figures_used,
    knowledge_of,
    readings,
)
from tradebot_core.trading.layers import evaluate_layers
from tradebot_core.trading.live import LIVE, REVIEW
from tradebot_core.trading.order_trail import BACKTEST, FillMade, OrderMade, fills_of, orders_of
from tradebot_core.trading.stored_markets import MARKET


@dataclass(frozen=True)
class LayerVerdict:
    layer: str
    passed: bool
    rule: str
    value: float | None
    threshold: float | None
    reasoning: str
    features: Mapping[str, Any]  # what the layer added for those after it


@dataclass(frozen=True)
class DecisionMade:
    action: str
    target_weight: float
    rule: str
    value: float | None
    threshold: float | None
    reasoning: str


@dataclass(frozen=True)
class Explanation:
    """`book` is live, backtest or review; a review was decided without the right to trade, and no engine saw it."""

    strategy: str
    symbol: str
    company: str
    session: date
    book: str
    summary: str
    layers: tuple[LayerVerdict, ...]
    decision: DecisionMade | None
    data_checks: tuple[DataFinding, ...]  # those that the company does not meet, by the settings of today
    figures: tuple[FigureUsed, ...]
    facts: tuple[SourceFact, ...]
    orders: tuple[OrderMade, ...]
    fills: tuple[FillMade, ...]


def explain(
    store: DataStore,
    calendar: TradingCalendar,
    strategy: Strategy,
    symbol: str,
    session: date,
    book: str | None = None,
    quality: QualitySettings = DATA_CHECKS_ON,
) -> Explanation:
    """Without a `book`: the live one where it decided the session, else the backtest, else a review.

    Raises UsageError for a symbol that the store does not know and a day that is no session, MissingData when the strategy
    has no results for it.
    """
    calendar.require_session(session)
    identity = _identity(store, calendar, symbol, session)
    book = _book_with_decisions(store, strategy.name, session, book)
    security = identity["security_id"]
    verdicts = _verdicts(store, strategy, security, session, book)
    decision = _row_of(store.read_results(DECISIONS, strategy.name, book, session, session), security)
    knowledge = knowledge_of(store, calendar, security, identity["cik"], session, _decided_at(store, strategy, session, book))
    if not verdicts and decision is not None and knowledge is not None:  # held, and no longer in the universe
        verdicts = {
            name: row for name, rows in evaluate_layers(strategy, knowledge.rows, quality).items() for row in rows.to_dicts()
        }
    judged = [layer for layer in strategy.layers() if layer.name in verdicts]
    seen = readings(judged, _with_features(knowledge, verdicts)) if knowledge else {}
    checks = data_findings(knowledge, quality) if knowledge and EventType.FUNDAMENTALS in strategy.subscriptions else ()
    of_checks = [column for check in checks if check.blocks for column in RULES_BY_NAME[check.check].columns]
    read = [column for reading in seen.values() for column in reading.columns]
    columns = tuple(dict.fromkeys([*read, *of_checks]))
    figures = figures_used(knowledge, columns) if knowledge and verdicts else ()
    layers = tuple(_layer_verdict(layer, verdicts[layer.name], knowledge, seen) for layer in judged)
    made = None if decision is None else _decision(decision)
    orders = orders_of(store, strategy.name, security, session, book)
    fills = fills_of(store, strategy.name, [order.order_key for order in orders], session, book)
    return Explanation(
        strategy.name,
        identity["symbol"],
        identity["name"],
        session,
        book,
        _summary(layers, made, orders, fills, knowledge is not None, len(strategy.layers())) + _blocked(made, checks),
        layers,
        made,
        checks,
        figures,
        facts_used(knowledge, figures, columns) if knowledge and verdicts else (),
        orders,
        fills,
    )


def _identity(store: DataStore, calendar: TradingCalendar, symbol: str, session: date) -> Mapping[str, Any]:
    """The security that bore the symbol in the session."""
    known = store.read(SECURITIES, as_of=calendar.cutoff(session))
    named = known.filter(pl.col("symbol").str.to_uppercase() == symbol.upper())
    if named.is_empty() and (then := _called_then(store, known, symbol, session)):
        raise UsageError(f"{symbol} is a later symbol of {then}, as it was called on {session}.", f"Ask for {then}.")
    if named.is_empty():
        raise UsageError(f"The store knows no security {symbol} at {session}.", symbols_alike(known, symbol))
    listed = named.filter(pl.lit(session).is_between("valid_from", "valid_to"))
    if listed.is_empty():
        last = named.sort("valid_from").row(-1, named=True)
        if then := _called_then(store, known, symbol, session):
            raise UsageError(f"{symbol} was not the symbol of {then} on {session}.", f"Ask for {then}, as it was called then.")
        raise UsageError(f"{symbol} was not listed on {session}.", f"It was from {last['valid_from']} to {last['valid_to']}.")
    return listed.sort("valid_from").row(-1, named=True)


def _called_then(store: DataStore, known: pl.DataFrame, symbol: str, session: date) -> str | None:
    """The symbol in the session of the security that bears this one now, or bore it last."""
    ever = store.read(SECURITIES, as_of=datetime.max.replace(tzinfo=UTC)).filter(pl.col("symbol") == symbol.upper())
    bearer = ever.sort("valid_from")["security_id"].tail(1)
    listed = known.filter(pl.col("security_id").is_in(bearer.implode()), pl.lit(session).is_between("valid_from", "valid_to"))
    return None if listed.is_empty() else listed.sort("valid_from")["symbol"][-1]


def _book_with_decisions(store: DataStore, strategy: str, session: date, book: str | None) -> str:
    for candidate in (LIVE, BACKTEST, REVIEW) if book is None else (book, REVIEW):
        if session in store.result_sessions(DECISIONS, strategy, candidate):
            return candidate
    decided = store.result_sessions(DECISIONS, strategy, book or BACKTEST)
    has = f"It has them from {decided[0]} to {decided[-1]}. " if decided else ""
    raise MissingData(
        f"{strategy} has no {book or 'live or backtest'} decisions for {session}.",
        f"{has}Run `tradebot backtest {strategy} --start ... --end ...` over the session.",
    )


def _verdicts(store: DataStore, strategy: Strategy, security: int, session: date, book: str) -> dict[str, Mapping[str, Any]]:
    """The layers' rows on one security; live decisions keep a copy of those that they rest on."""
    found = {}
    for layer in strategy.layers():
        kept = session in store.result_sessions(LAYERS, strategy.name, book, layer.name)
        rows = store.read_results(LAYERS, strategy.name, book if kept else MARKET, session, session, layer.name)
        row = _row_of(rows, security)
        if row is not None:
            found[layer.name] = row
    return found


def _row_of(rows: pl.DataFrame, security: int) -> Mapping[str, Any] | None:
    found = rows.filter(pl.col("security_id") == security).to_dicts()
    return found[0] if found else None


def _decided_at(store: DataStore, strategy: Strategy, session: date, book: str) -> datetime | None:
    """When a live decision was made: what came into the store later, it did not see."""
    if book == BACKTEST:
        return None
    made = [s for s in store.ledger.decision_sets(strategy.name) if s.session == session and s.live is (book == LIVE)]
    return made[-1].decided_at if made else None


def _with_features(knowledge: Knowledge, verdicts: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    row = dict(knowledge.panel)
    for verdict in verdicts.values():
        row |= {name: value for name, value in verdict.items() if name not in LAYERS.schema}
    return row


def _layer_verdict(layer, row: Mapping[str, Any], knowledge: Knowledge | None, seen: Mapping[str, Reading]) -> LayerVerdict:
    verdict = Verdict(row["passed"], row["rule"], row["value"], row["threshold"])
    why = "not known"
    if verdict.value is None and knowledge is not None:
        reading = seen[layer.name]
        why = knowledge.why_missing(reading.of_rule.get(verdict.rule, reading.columns))
    words = reasoning.of_layer(layer, verdict, why)
    if verdict.rule.startswith(PREFIX) and knowledge is not None:
        words = f"{words} [{knowledge.filing}]"
    features = {name: row[name] for name in layer.features}
    return LayerVerdict(layer.name, verdict.passed, verdict.rule, verdict.value, verdict.threshold, words, features)


def _decision(row: Mapping[str, Any]) -> DecisionMade:
    action = Action(row["action"])
    words = reasoning.of_decision(Verdict(action in (Action.BUY, Action.HOLD), row["rule"], row["value"], row["threshold"]))
    return DecisionMade(str(action), row["target_weight"], row["rule"], row["value"], row["threshold"], words)


def _summary(
    layers: Sequence[LayerVerdict],
    decision: DecisionMade | None,
    orders: Sequence[OrderMade],
    fills: Sequence[FillMade],
    has_bar: bool,
    layer_count: int,
) -> str:
    if decision is None:
        return _why_undecided(layers, has_bar, layer_count)
    if decision.action == Action.SKIP:
        return f"Not bought: {decision.reasoning}."
    if decision.action == Action.HOLD:
        return f"Held: {decision.reasoning}."
    return _what_came_of_it(decision, orders, fills)


def _why_undecided(layers: Sequence[LayerVerdict], has_bar: bool, layer_count: int) -> str:
    if not layers:
        outside = (
            "it is outside the universe of the configuration" if has_bar else "no bar of the session was known at the cut-off"
        )
        return f"Not considered: {outside}."
    last = layers[-1]
    if last.rule.startswith(PREFIX):
        return f"Not bought: {last.reasoning}."
    if not last.passed:
        return f"Not bought: {last.layer} rejected it, {last.reasoning}."
    if len(layers) < layer_count:
        return f"Not considered: the layers after {last.layer} were not shown it."
    return "Not bought: it passed every layer, and the strategy made no decision about it."


def _blocked(decision: DecisionMade | None, checks: Sequence[DataFinding]) -> str:
    """What is held is not sold for a data check; that no more of it is bought must still be said."""
    blocking = [check.check for check in checks if check.blocks]
    held = decision is not None and decision.action == Action.HOLD
    return f" No more of it is bought while its data are in doubt ({', '.join(blocking)})." if held and blocking else ""


def _what_came_of_it(decision: DecisionMade, orders: Sequence[OrderMade], fills: Sequence[FillMade]) -> str:
    traded, wanted = ("Bought", "bought") if decision.action == Action.BUY else ("Sold", "sold")
    if fills:
        shares = sum(fill.quantity for fill in fills)
        return f"{traded} {shares} at {fills[0].price} on {fills[0].session}: {decision.reasoning}."
    if not orders:
        why = "the limits left less than one share, or its orders have not been planned yet"
        return f"Not {wanted}: decided ({decision.reasoning}), but there is no order: {why}."
    order = orders[0]
    if not order.approved:
        return f"Not {wanted}: {order.reasoning}."
    if order.state in (OrderState.CANCELLED, OrderState.REJECTED, OrderState.EXPIRED, OrderState.LOST):
        return f"Not {wanted}: the order ended as {order.state}. {order.detail}".strip()
    return f"To be {wanted}: an order for {order.quantity} is {order.state} ({decision.reasoning})."


def render_text(explanation: Explanation) -> str:
    """A page for a person."""
    e = explanation
    sections = {
        "Layers": [line for layer in e.layers for line in _layer_lines(layer)] or ["none was shown this security"],
        "Data checks it does not meet": [line for check in e.data_checks for line in _check_lines(check)],
        "Decision": _decision_lines(e.decision),
        "Orders": [line for order in e.orders for line in _order_lines(order)],
        "Fills": [
            f"{fill.session}  {fill.side} {fill.quantity} at {fill.price}, commission "
            f"{'not reported yet' if fill.commission is None else fill.commission}  [{fill.execution_id}]"
            for fill in e.fills
        ],
        "Figures the layers looked at": [_figure_line(figure) for figure in e.figures],
        "Facts they were made of": [line for fact in e.facts for line in _fact_lines(fact)],
    }
    lines = [f"{e.symbol}  {e.company}", f"{e.strategy}, session {e.session}, {_book_words(e.book)}", "", e.summary]
    for title, found in sections.items():
        if found:
            lines += ["", title, *(f"  {line}".rstrip() for line in found)]
    return "\n".join(lines) + "\n"


def _layer_lines(layer: LayerVerdict) -> list[str]:
    known = [f"{name} {reasoning.number(value)}" for name, value in layer.features.items() if value is not None]
    return [
        f"{'passed' if layer.passed else 'FAILED':<8}{layer.layer:<12}{layer.reasoning}",
        *([f"{'':<20}{', '.join(known)}"] if known else []),
    ]


def _check_lines(check: DataFinding) -> list[str]:
    return [
        f"{'BLOCKS' if check.blocks else 'warns':<8}{check.check:<20}{check.reasoning}",
        f"{'':<8}{check.form} {check.accession}, period to {check.period_end}",
        *([f"{'':<8}{check.link}"] if check.link else []),
    ]


def _decision_lines(decision: DecisionMade | None) -> list[str]:
    if decision is None:
        return []
    weight = f", target weight {decision.target_weight:.1%}" if decision.target_weight else ""
    return [f"{decision.action.upper()}{weight}: {decision.reasoning}"]


def _order_lines(order: OrderMade) -> list[str]:
    became = f"{order.state}. {order.detail}".rstrip()
    return [
        f"{order.side} {order.quantity} (reference {order.reference_price}): {became}",
        f"  {order.order_key}",
        f"  {order.reasoning}",
        *(
            f"  before sending: {reasoning.of_check(check.approved, check.rule, check.value, check.limit)}: {check.detail}"
            for check in order.checks
        ),
    ]


def _figure_line(figure: FigureUsed) -> str:
    if figure.value is None:
        return f"{figure.figure:<26}{'missing':>20}  {figure.reason}"
    return f"{figure.figure:<26}{reasoning.number(figure.value):>20}  {figure.rule or ''}"


def _fact_lines(fact: SourceFact) -> list[str]:
    period = f"{fact.period_start} to {fact.period_end}" if fact.period_start else f"{fact.period_end}"
    filing = f"{fact.form or ''} {fact.accession or ''}".strip()
    origin = [filing, f"known {fact.known_at:%Y-%m-%d %H:%M} UTC", fact.source]
    return [
        f"{fact.concept:<52}{reasoning.number(fact.value):>20} {fact.unit:<10} {period}",
        f"  {', '.join(filter(None, origin))}",
        *([f"  {fact.link}"] if fact.link else []),
    ]


def _book_words(book: str) -> str:
    return {
        LIVE: "live book",
        BACKTEST: "backtest",
        REVIEW: "a review: decided without the right to trade, and no engine saw it",
    }.get(book, book)
