"""What the simulated broker knows, as messages of the TWS protocol."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.simulation.account import Holding, SimulatedExecution, SimulatedOrder
from tradebot_core.simulation.exchange import PRICE_STEPS, SimulatedExchange
from tradebot_core.simulation.market_data import DailyBar, Listing
from tradebot_core.simulation.tws_protocol import TIME_ZONE, UNSET_DOUBLE, Field, Reply, lay_out, timestamp

MARKET_RULE = 26
_EXCHANGES = ("SMART", "NYSE", "NASDAQ", "ARCA")
_ORDER_TYPES = "ACTIVETIM,DAY,LMT,LOC,LOO,MKT,MOC,MOO,OPG,WHATIF"
_HOURS_DAYS = 6

Message = list[Field]


def wire_symbol(symbol: str) -> str:
    """IBKR writes a share class after a space: BRK B."""
    return symbol.replace(".", " ").replace("-", " ")


def contract_values(con_id: int, symbol: str) -> dict[str, Field]:
    wire = wire_symbol(symbol)
    return {
        "conId": con_id,
        "symbol": wire,
        "secType": "STK",
        "exchange": "SMART",
        "currency": "USD",
        "localSymbol": wire,
        "tradingClass": wire,
    }


def error(code: int, text: str, request_id: int = -1) -> Message:
    return [Reply.ERROR, 2, request_id, code, text, ""]


# Orders.


def _order_values(order: SimulatedOrder) -> dict[str, Field]:
    return contract_values(order.con_id, order.symbol) | {
        "action": order.action,
        "totalQuantity": order.quantity,
        "orderType": order.order_type,
        "lmtPrice": order.limit_price,
        "tif": order.tif,
        "account": order.account,
        "orderRef": order.order_ref,
        "permId": order.perm_id,
        "status": order.status,
    }


def open_order(order: SimulatedOrder) -> Message:
    return lay_out(Reply.OPEN_ORDER, _order_values(order) | {"orderId": order.order_id, "clientId": order.client_id})


def order_status(order: SimulatedOrder) -> Message:
    remaining = order.quantity - order.filled
    price = order.average_price
    return [
        Reply.ORDER_STATUS, order.order_id, order.status, order.filled, remaining, price,
        order.perm_id, 0, price, order.client_id, "", 0,
    ]  # fmt: skip


def completed_order(order: SimulatedOrder) -> Message:
    """Without order id and client id, and without the quantity ordered: the gateway leaves them out here."""
    values = _order_values(order) | {
        "totalQuantity": 0,
        "filledQuantity": order.filled,
        "completedTime": timestamp(order.completed_at) if order.completed_at else "",
        "completedStatus": order.completed_status,
    }
    return lay_out(Reply.COMPLETED_ORDER, values)


def previewed_order(
    con_id: int, symbol: str, order_id: int, client_id: int, *, cost: Decimal, commission: Decimal, equity: Decimal
) -> Message:
    """The answer to a what-if: in a cash account an order needs its whole value."""
    values = contract_values(con_id, symbol) | {
        "orderId": order_id,
        "clientId": client_id,
        "whatIf": True,
        "status": "PreSubmitted",
        "initMarginBefore": 0,
        "initMarginChange": cost,
        "initMarginAfter": cost,
        "maintMarginBefore": 0,
        "maintMarginChange": cost,
        "maintMarginAfter": cost,
        "equityWithLoanBefore": equity,
        "equityWithLoanChange": -commission,
        "equityWithLoanAfter": equity - commission,
        "commission": commission,
        "minCommission": UNSET_DOUBLE,
        "maxCommission": UNSET_DOUBLE,
        "commissionCurrency": "USD",
    }
    return lay_out(Reply.OPEN_ORDER, values)


def execution(done: SimulatedExecution, request_id: int = -1) -> Message:
    values = contract_values(done.con_id, done.symbol) | {
        "reqId": request_id,
        "orderId": done.order_id,
        "execId": done.execution_id,
        "time": timestamp(done.at),
        "acctNumber": done.account,
        "executionExchange": "ISLAND",
        "side": "BOT" if done.action == "BUY" else "SLD",
        "shares": done.quantity,
        "price": done.price,
        "permId": done.perm_id,
        "clientId": done.client_id,
        "liquidation": 0,
        "cumQty": done.quantity,
        "avgPrice": done.price,
        "orderRef": done.order_ref,
        "lastLiquidity": 2,
        "pendingPriceRevision": False,
    }
    return lay_out(Reply.EXECUTION, values)


def commission_report(done: SimulatedExecution) -> Message:
    realized = UNSET_DOUBLE if done.realized_pnl is None else done.realized_pnl
    return [Reply.COMMISSION, 1, done.execution_id, done.commission, "USD", realized, UNSET_DOUBLE, ""]


# The account.


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
    average = holding.cost / holding.quantity
    return [Reply.PORTFOLIO, 8, *contract, holding.quantity, price, value, average, value - holding.cost, 0, account]


def account_values(exchange: SimulatedExchange) -> Iterator[tuple[str, Field, str]]:
    """(tag, value, currency) for the account as a whole."""
    cash, invested = exchange.cash, exchange.invested
    yield "AccountType", "INDIVIDUAL", ""
    yield "AccountReady", "true", ""
    for tag, amount in (
        ("NetLiquidation", cash + invested),
        ("EquityWithLoanValue", cash + invested),
        ("TotalCashValue", cash),
        ("SettledCash", cash),
        ("AccruedCash", Decimal(0)),
        ("BuyingPower", exchange.available_funds),
        ("AvailableFunds", exchange.available_funds),
        ("ExcessLiquidity", exchange.available_funds),
        ("GrossPositionValue", invested),
        ("InitMarginReq", invested),
        ("MaintMarginReq", invested),
    ):
        yield tag, amount, "USD"


def ledger_values(exchange: SimulatedExchange, prefix: str) -> Iterator[tuple[str, Field, str]]:
    """(tag, value, currency) by currency. Since 10.47 a gateway may put `$LEDGER-` before these tags."""
    cash, invested = exchange.cash, exchange.invested
    for currency in ("BASE", "USD"):
        yield f"{prefix}Currency", currency, currency
        yield f"{prefix}CashBalance", cash, currency
        yield f"{prefix}TotalCashBalance", cash, currency
        yield f"{prefix}StockMarketValue", invested, currency
        yield f"{prefix}NetLiquidationByCurrency", cash + invested, currency
        yield f"{prefix}ExchangeRate", "1.00", currency


# The market.


def contract_details(request_id: int, listing: Listing, calendar: TradingCalendar, today: date) -> Message:
    values = contract_values(listing.con_id, listing.symbol) | {
        "reqId": request_id,
        "strike": 0,
        "marketName": wire_symbol(listing.symbol),
        "minTick": "0.0001",
        "orderTypes": _ORDER_TYPES,
        "validExchanges": ",".join(_EXCHANGES),
        "priceMagnifier": 1,
        "underConId": 0,
        # The client undoes this: ContractDetails.longName is "unicode-escape" on the wire.
        "longName": listing.name.encode("unicode_escape").decode("ascii"),
        "primaryExchange": listing.exchange,
        "industry": listing.industry,
        "category": listing.category,
        "subcategory": listing.category,
        "timeZoneId": TIME_ZONE,
        "tradingHours": hours(calendar, today),
        "liquidHours": hours(calendar, today),
        "aggGroup": 1,
        "marketRuleIds": ",".join(str(MARKET_RULE) for _ in _EXCHANGES),
        "stockType": "COMMON",
        "minSize": 1,
        "sizeIncrement": 1,
        "suggestedSizeIncrement": 100,
    }
    return lay_out(Reply.CONTRACT_DETAILS, values)


def hours(calendar: TradingCalendar, today: date) -> str:
    """Regular hours of the coming days, as IBKR writes them: 20261123:0930-20261123:1600;20261126:CLOSED."""
    days = (today + timedelta(n) for n in range(_HOURS_DAYS))
    return ";".join(
        f"{_minute(calendar.opens_at(day))}-{_minute(calendar.closes_at(day))}"
        if calendar.is_session(day)
        else f"{day:%Y%m%d}:CLOSED"
        for day in days
    )


def _minute(at: datetime) -> str:
    return f"{at.astimezone(NEW_YORK):%Y%m%d:%H%M}"


def market_rule(rule: int) -> Message:
    return [Reply.MARKET_RULE, rule, len(PRICE_STEPS), *(value for step in PRICE_STEPS for value in step)]


def daily_bars(request_id: int, bars: Sequence[DailyBar]) -> Message:
    rows = (
        field
        for bar in bars
        for field in (f"{bar.session:%Y%m%d}", bar.open, bar.high, bar.low, bar.close, bar.volume, bar.close, 0)
    )
    first, last = (f"{bars[at].session:%Y%m%d} 00:00:00 {TIME_ZONE}" for at in (0, -1))
    return [Reply.HISTORICAL_DATA, request_id, first, last, len(bars), *rows]
