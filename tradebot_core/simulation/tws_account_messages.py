"""Positions and account values as messages of the TWS protocol."""

from collections.abc import Iterator
from decimal import Decimal

from tradebot_core.simulation.account import Holding
from tradebot_core.simulation.exchange import SimulatedExchange
from tradebot_core.simulation.market_data import Listing
from tradebot_core.simulation.tws_messages import Message, wire_symbol
from tradebot_core.simulation.tws_protocol import Field, Reply


def position(account: str, con_id: int, symbol: str, holding: Holding) -> Message:
    wire = wire_symbol(symbol)
    contract = (con_id, wire, "STK", "", 0, "", "", "", "USD", wire, wire)
    average = holding.cost / holding.quantity if holding.quantity else 0
    return [Reply.POSITION, 3, account, *contract, holding.quantity, average]


def portfolio_item(
    account: str, con_id: int, listing: Listing | None, symbol: str, holding: Holding, price: Decimal
) -> Message:
    wire = wire_symbol(symbol)
    value = price * holding.quantity
    contract = (con_id, wire, "STK", "", 0, "", "", listing.exchange if listing else "", "USD", wire, wire)
    average = holding.cost / holding.quantity if holding.quantity else 0
    return [Reply.PORTFOLIO, 8, *contract, holding.quantity, price, value, average, value - holding.cost, 0, account]


def account_values(exchange: SimulatedExchange, account: str) -> Iterator[tuple[str, Field, str]]:
    """(tag, value, currency) for the account as a whole."""
    book = exchange.book(account)
    cash, invested, available = book.cash, exchange.invested(account), exchange.available_funds(account)
    yield "AccountType", "INDIVIDUAL", ""
    yield "AccountReady", "true", ""
    for tag, amount in (
        ("NetLiquidation", cash + invested),
        ("EquityWithLoanValue", cash + invested),
        ("TotalCashValue", cash),
        ("SettledCash", book.settled_cash(exchange.today)),
        ("AccruedCash", Decimal(0)),
        ("BuyingPower", available),
        ("AvailableFunds", available),
        ("ExcessLiquidity", available),
        ("GrossPositionValue", invested),
        ("InitMarginReq", invested),
        ("MaintMarginReq", invested),
    ):
        yield tag, amount, "USD"


def ledger_values(exchange: SimulatedExchange, account: str, prefix: str) -> Iterator[tuple[str, Field, str]]:
    """(tag, value, currency) by currency. Since 10.47 a gateway may put `$LEDGER-` before these tags."""
    cash, invested = exchange.book(account).cash, exchange.invested(account)
    for currency in ("BASE", "USD"):
        yield f"{prefix}Currency", currency, currency
        yield f"{prefix}CashBalance", cash, currency
        yield f"{prefix}TotalCashBalance", cash, currency
        yield f"{prefix}StockMarketValue", invested, currency
        yield f"{prefix}NetLiquidationByCurrency", cash + invested, currency
        yield f"{prefix}ExchangeRate", "1.00", currency
