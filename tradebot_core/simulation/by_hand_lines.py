"""What a person writes to a simulated TWS that runs, a line for each thing; who it is done for is the last word, where it matters.

buy AAPL 10 [limit] [account]     cash -5000 [account]        split AAPL 2         link lost | restored | data-lost
sell AAPL 10 [limit] [account]    correct AAPL 187.31         dividend AAPL 0.25   account [account]
cancel PERMID                     fault no_ack@order:1
"""

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation

from tradebot_core.errors import UsageError
from tradebot_core.simulation.account import SimulatedOrder
from tradebot_core.simulation.faults import parse_fault
from tradebot_core.simulation.order_rules import OrderRefused
from tradebot_core.simulation.tws_by_hand import ByHand

HELP = __doc__.split("\n\n", 1)[1].rstrip() if __doc__ else ""


def perform(by_hand: ByHand, line: str) -> str:
    """Does what a line says and returns what came of it, or why it was not done."""
    word, *rest = line.split() or [""]
    act = _ACTS.get(word.lower())
    if act is None:
        return f"not understood: {line.strip() or 'an empty line'}\n{HELP}"
    account = rest.pop() if rest and rest[-1] in by_hand.accounts else ""
    try:
        return act(by_hand, rest, account)
    except OrderRefused as refused:
        return f"refused: {refused}"
    except (ValueError, InvalidOperation, KeyError, UsageError) as problem:
        return f"not done: {line.strip()} ({problem})\n{HELP}"


def _buy(by_hand: ByHand, rest: list[str], account: str) -> str:
    return _told(by_hand.buy(*_terms(rest), account=account))


def _sell(by_hand: ByHand, rest: list[str], account: str) -> str:
    return _told(by_hand.sell(*_terms(rest), account=account))


def _cancel(by_hand: ByHand, rest: list[str], _: str) -> str:
    (perm_id,) = rest
    return _told(by_hand.cancel(int(perm_id)))


def _cash(by_hand: ByHand, rest: list[str], account: str) -> str:
    (amount,) = rest
    by_hand.move_cash(_number(amount), account=account)
    return _account(by_hand, [], account)


def _correct(by_hand: ByHand, rest: list[str], _: str) -> str:
    symbol, price = rest
    done = by_hand.correct_last(symbol, _number(price))
    return f"execution {done.execution_id}: {done.action} {done.quantity} {done.symbol} at {done.price}"


def _split(by_hand: ByHand, rest: list[str], _: str) -> str:
    symbol, ratio = rest
    return f"{symbol}: {float(ratio):g} shares for one at the open of {by_hand.split(symbol, float(ratio))}"


def _dividend(by_hand: ByHand, rest: list[str], _: str) -> str:
    symbol, amount = rest
    return f"{symbol}: {float(amount):g} USD a share at the open of {by_hand.dividend(symbol, float(amount))}"


def _link(by_hand: ByHand, rest: list[str], _: str) -> str:
    (what,) = rest
    if what == "lost":
        by_hand.lose_link()
    elif what in ("restored", "data-lost"):
        by_hand.restore_link(data_lost=what == "data-lost")
    else:
        raise ValueError(f"a link is lost, restored or data-lost, not {what}")
    return f"link {what}"


def _fault(by_hand: ByHand, rest: list[str], _: str) -> str:
    faults = [parse_fault(text) for text in rest or [""]]
    by_hand.script(*faults)
    return f"still to come, counted from now: {', '.join(map(str, faults))}"


def _account(by_hand: ByHand, rest: list[str], account: str) -> str:
    if rest:
        raise ValueError(f"{rest[0]} is not an account of this login")
    state, name = by_hand.truth(), account or by_hand.accounts[0]
    book = state.accounts[name]
    symbols = {done.con_id: done.symbol for done in state.executions}
    held = "".join(f", {holding.quantity} {symbols.get(con_id, con_id)}" for con_id, holding in book.holdings.items())
    working = "".join(f"\n  {_told(order)}" for order in state.orders if order.is_open and order.account == name)
    return f"{name}: {book.cash:.2f} USD{held}{working}"


_ACTS: Mapping[str, Callable[[ByHand, list[str], str], str]] = {
    "buy": _buy,
    "sell": _sell,
    "cancel": _cancel,
    "cash": _cash,
    "correct": _correct,
    "split": _split,
    "dividend": _dividend,
    "link": _link,
    "account": _account,
    "fault": _fault,
}


def _terms(rest: list[str]) -> tuple[str, int, Decimal | None]:
    symbol, quantity, *limit = rest
    if len(limit) > 1:
        raise ValueError(f"{limit[1]} is not an account of this login")
    return symbol, int(quantity), _number(limit[0]) if limit else None


def _number(text: str) -> Decimal:
    number = Decimal(text)
    if not number.is_finite():
        raise ValueError(f"{text} is no amount")
    return number


def _told(order: SimulatedOrder) -> str:
    limit = f" limit {order.limit_price}" if order.limit_price is not None else ""
    what = f"{order.action} {order.quantity} {order.symbol}{limit}"
    at = f" at {order.average_price:.2f}" if order.filled else ""
    return f"order {order.perm_id} of {order.account}: {what}, {order.status}, {order.filled} filled{at}"
