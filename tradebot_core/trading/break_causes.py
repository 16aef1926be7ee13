"""What a break probably comes from, in words. A cause names where to look; it explains nothing away."""

from collections.abc import Mapping
from decimal import Decimal
from math import gcd

from tradebot_core.interfaces import BrokerAccount, BrokerExecutionLine
from tradebot_core.model.market import ActionType
from tradebot_core.trading.account_sides import LedgerSide

_CENT, _COMMISSION_AT_MOST = Decimal("0.01"), Decimal(20)  # USD; of the trades of a day by hand
_MOST_NEW_OR_OLD = 50  # shares for one, of a split that is guessed


def position_cause(con_id: int, ledger: LedgerSide, account: BrokerAccount, held: Mapping[int, Decimal]) -> str:
    """`held`: the broker's shares by con_id, see account_comparison.held_at."""
    expected, quantity = ledger.expected(con_id), held.get(con_id, Decimal(0))
    difference = quantity - expected
    if any(done.con_id == con_id for done in _unentered(ledger, account)):
        return "executions of ours that no run has entered yet"
    by_hand = [done for done in _by_hand(ledger, account) if done.con_id == con_id]
    if by_hand and sum((_signed(done) for done in by_hand), Decimal(0)) == difference:
        return f"traded by hand today: {', '.join(map(_trade, by_hand))}"
    external = ledger.external_positions.get(con_id, Decimal(0))
    for action in ledger.actions:
        of_external = external and abs(external * (action.value - 1) - difference) < 1
        if action.con_id == con_id and action.type is ActionType.SPLIT and of_external:
            return f"the split of {action.session} also changed the {external:f} shares that are external"
        if action.con_id == con_id and action.type is ActionType.DELISTING and quantity == 0 and difference == -external:
            return f"the delisting of {action.session} also took the {external:f} shares that are external"
    if quantity == 0 or expected == 0:
        opposite = [
            other
            for other in held.keys() | ledger.positions.keys() | ledger.external_positions.keys()
            if other != con_id and held.get(other, Decimal(0)) - ledger.expected(other) == -difference
        ]
        if opposite:
            return (
                f"the same number of shares of {opposite[0]} differs the other way: a listing was probably renamed or exchanged "
                "(collect the securities again)"
            )
        if expected == 0:
            return "nothing of it was held: a spin-off, a transfer, or bought by hand on an earlier day"
        return "all of it is gone: delisted, taken over, transferred out, or sold by hand on an earlier day"
    ratio = _ratio(quantity, expected)
    if ratio and not any(action.con_id == con_id and action.type is ActionType.SPLIT for action in ledger.actions):
        return f"probably a split, {ratio}, that the corporate actions lack (collect them again)"
    return "a trade by hand on an earlier day, a transfer, or a corporate action that is not known"


def cash_cause(difference: Decimal, ledger: LedgerSide, account: BrokerAccount) -> str:
    """`difference`: the broker's cash less the ledger's with every due paid, USD."""
    if _unentered(ledger, account):
        return "executions of ours that no run has entered yet"
    if ledger.uncommissioned and difference < 0:
        return f"the commission of {', '.join(ledger.uncommissioned)}, which the broker has not reported"
    overdue = [due for due in ledger.cash_dues if due.last_day < ledger.today]
    for due in overdue:
        if abs(difference + due.cash - due.withheld) <= _CENT:
            return f"{due.name} was expected by {due.last_day} and has not come"
    for action in ledger.actions:
        shares = ledger.external_positions.get(action.con_id, Decimal(0))
        pays = action.type in (ActionType.DIVIDEND, ActionType.DELISTING)
        if pays and shares and action.session <= ledger.today and abs(shares * action.value - difference) <= _CENT:
            return f"the {action.type} of {action.symbol} ({action.session}) on {shares:f} shares that are external"
    by_hand = _by_hand(ledger, account)
    if by_hand:
        proceeds = -sum((_signed(done) * done.price for done in by_hand), Decimal(0))
        if 0 <= proceeds - difference <= _COMMISSION_AT_MOST:
            rest = f", and {proceeds - difference:f} USD of commission" if proceeds != difference else ""
            return f"traded by hand today: {', '.join(map(_trade, by_hand))}{rest}"
    dues = ", ".join(due.name for due in ledger.cash_dues)
    if dues:
        return f"no choice of what is due makes that sum ({dues}): paid in, taken out, a fee, interest, or a due paid otherwise"
    return "paid in, taken out, a fee, interest, a dividend that is not known or was taxed: see the broker's statement"


def _unentered(ledger: LedgerSide, account: BrokerAccount) -> list[BrokerExecutionLine]:
    ours = (done for done in account.executions if done.reference.startswith(ledger.own_prefixes))
    return [done for done in ours if done.execution_id not in ledger.executions]


def _by_hand(ledger: LedgerSide, account: BrokerAccount) -> list[BrokerExecutionLine]:
    return [done for done in account.executions if not done.reference.startswith(ledger.own_prefixes)]


def _signed(done: BrokerExecutionLine) -> Decimal:
    return done.quantity if done.side == "BOT" else -done.quantity


def _trade(done: BrokerExecutionLine) -> str:
    return f"{done.side} {done.quantity:f} {done.symbol} at {done.price:f}"


def _ratio(quantity: Decimal, expected: Decimal) -> str:
    """`2 for 1`, when it is one in small numbers; fractions of a share are paid out, so the broker has the whole ones."""
    for old in range(1, _MOST_NEW_OR_OLD + 1):
        for new in range(1, _MOST_NEW_OR_OLD + 1):
            if min(old, new) <= 3 and gcd(old, new) == 1 and old != new and expected * new // old == quantity:
                return f"{new} for {old}"
    return ""
