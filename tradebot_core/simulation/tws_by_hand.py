"""What a person does in TWS, and what the broker and the exchange do of themselves, while a simulated TWS serves.

Every call is safe from any thread: it is done in the server's loop, between two requests of clients, and who follows what it
changes is told. Without a server it is done at once.
"""

import asyncio
from collections.abc import Callable, Iterable
from datetime import date
from decimal import Decimal
from typing import TypeVar

import msgspec

from tradebot_core.model.market import ActionType
from tradebot_core.simulation.account import AccountState, SimulatedExecution, SimulatedOrder, latest
from tradebot_core.simulation.exchange import Progress, SimulatedExchange
from tradebot_core.simulation.faults import Fault, FaultScript
from tradebot_core.simulation.tws_desk import Desk
from tradebot_core.simulation.tws_messages import error

T = TypeVar("T")
_TIMEOUT_S = 30.0
_LINK_LOST = "Connectivity between IBKR and Trader Workstation has been lost."
_DATA_LOST = "Connectivity between IBKR and Trader Workstation has been restored - data lost."
_DATA_KEPT = "Connectivity between IBKR and Trader Workstation has been restored - data maintained."


class ByHand:
    """`account` is one of the login's; without it the first is meant."""

    def __init__(self, desk: Desk, faults: FaultScript) -> None:
        self._desk = desk
        self._faults = faults
        self.loop: asyncio.AbstractEventLoop | None = None  # the server's, while it serves

    @property
    def accounts(self) -> tuple[str, ...]:
        return self._desk.exchange.accounts

    def truth(self) -> AccountState:
        """All that really happened, on all days: a copy."""
        return self._call(self._desk.exchange.truth)

    # A person's orders and cash.

    def buy(
        self, symbol: str, quantity: int, limit_price: Decimal | None = None, tif: str = "DAY", account: str = ""
    ) -> SimulatedOrder:
        """An order that no client placed; filled already where that is due at once. Raises OrderRefused."""
        return self._order(symbol, "BUY", quantity, limit_price, tif, account)

    def sell(
        self, symbol: str, quantity: int, limit_price: Decimal | None = None, tif: str = "DAY", account: str = ""
    ) -> SimulatedOrder:
        return self._order(symbol, "SELL", quantity, limit_price, tif, account)

    def cancel(self, perm_id: int) -> SimulatedOrder:
        """Any open order, as a person may in TWS. Raises OrderRefused."""
        order = self._do(lambda exchange: _alone(exchange.cancel_by_hand(perm_id)))
        return msgspec.structs.replace(order)

    def move_cash(self, amount: Decimal, kind: str = "", account: str = "") -> None:
        """A deposit, or when it is negative a withdrawal; or interest or a fee, where `kind` says so."""
        named = kind or ("deposit" if amount > 0 else "withdrawal")
        self._do(lambda exchange: (exchange.move_cash(named, amount, account), ()))

    # The exchange and the issuers.

    def correct(self, execution_id: str, price: Decimal) -> SimulatedExecution:
        """The exchange corrects a price; the client that ordered is told. Raises KeyError for an id that is not there."""

        def correct(exchange: SimulatedExchange) -> tuple[SimulatedExecution, Iterable[Progress]]:
            corrected = exchange.correct(execution_id, price)
            return corrected, [Progress(exchange.by_perm_id(corrected.perm_id), corrected)]

        return self._do(correct)

    def correct_last(self, symbol: str, price: Decimal) -> SimulatedExecution:
        """Of the executions in a share the latest. Raises KeyError when there is none."""
        found = [done for done in latest(self.truth().executions) if done.symbol == symbol]
        if not found:
            raise KeyError(f"no execution in {symbol}")
        return self.correct(found[-1].execution_id, price)

    def split(self, symbol: str, ratio: float) -> date:
        """Takes effect at the next open, which is returned: holdings are multiplied, prices from then on divided."""
        return self._announce(symbol, ActionType.SPLIT, ratio)

    def dividend(self, symbol: str, amount: float) -> date:
        """USD a share, gross, paid to who holds the share at the next open, which is returned. Prices stay as they are."""
        return self._announce(symbol, ActionType.DIVIDEND, amount)

    # The gateway's own connection.

    def lose_link(self) -> None:
        """1100 to every client; the gateway goes on answering from what it knows."""
        self._call(lambda: self._desk.broadcast(error(1100, _LINK_LOST)))

    def restore_link(self, *, data_lost: bool) -> None:
        """1102 to every client; or 1101, after which no subscription goes on."""

        def restore() -> None:
            if data_lost:
                self._desk.live_bars.lose()
            self._desk.broadcast(error(1101, _DATA_LOST) if data_lost else error(1102, _DATA_KEPT))

        self._call(restore)

    def script(self, *faults: Fault) -> None:
        """What is to go wrong, counted from now."""
        self._faults.add(*faults)

    @property
    def subscriptions(self) -> int:
        """Of bars that are kept up to date, by all clients."""
        return self._call(lambda: len(self._desk.live_bars))

    # How.

    def _order(
        self, symbol: str, action: str, quantity: int, limit_price: Decimal | None, tif: str, account: str
    ) -> SimulatedOrder:
        order = self._do(lambda exchange: _alone(exchange.by_hand(symbol, action, quantity, limit_price, tif, account)))
        return msgspec.structs.replace(order)

    def _announce(self, symbol: str, kind: ActionType, value: float) -> date:
        return self._do(lambda exchange: (exchange.announce(symbol, kind, value), ()))

    def _do(self, act: Callable[[SimulatedExchange], tuple[T, Iterable[Progress]]]) -> T:
        """Does it, and tells the clients; what is then due happens as well."""

        def done() -> T:
            self._desk.advance()
            result, progress = act(self._desk.exchange)
            self._desk.tell(progress, changed=True)
            self._desk.advance()
            return result

        return self._call(done)

    def _call(self, act: Callable[[], T]) -> T:
        loop = self.loop
        if loop is None or loop is _running():
            return act()

        async def called() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(called(), loop).result(_TIMEOUT_S)


def _alone(order: SimulatedOrder) -> tuple[SimulatedOrder, Iterable[Progress]]:
    return order, (Progress(order),)


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
