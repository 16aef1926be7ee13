"""Contract details, hours, bars and quotes as messages of the TWS protocol."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.simulation.market_data import DailyBar, Listing
from tradebot_core.simulation.order_rules import PRICE_STEPS
from tradebot_core.simulation.tws_messages import Message, contract_values, wire_symbol
from tradebot_core.simulation.tws_protocol import TIME_ZONE, Reply, lay_out

MARKET_RULE = 26
_EXCHANGES = ("SMART", "NYSE", "NASDAQ", "ARCA")
_ORDER_TYPES = "ACTIVETIM,ADAPTIVE,ALGO,DAY,LMT,LOC,LOO,MKT,MOC,MOO,OPG,WHATIF"
_HOURS_DAYS = 6
_EARLIEST, _LATEST, _LATEST_EARLY = time(4), time(20), time(17)  # of trading outside regular hours
_REGULAR_CLOSE = time(16)


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
        "tradingHours": hours(calendar, today, regular=False),
        "liquidHours": hours(calendar, today, regular=True),
        "aggGroup": 1,
        "marketRuleIds": ",".join(str(MARKET_RULE) for _ in _EXCHANGES),
        "stockType": "COMMON",
        "minSize": 1,
        "sizeIncrement": 1,
        "suggestedSizeIncrement": 100,
    }
    return lay_out(Reply.CONTRACT_DETAILS, values)


def hours(calendar: TradingCalendar, today: date, *, regular: bool) -> str:
    """Hours of the coming days, as IBKR writes them: 20261123:0930-20261123:1600;20261126:CLOSED. Regular ones, or those of
    all trading: from 04:00 to 20:00, on days that close early to 17:00."""
    return ";".join(_day_hours(calendar, today + timedelta(n), regular=regular) for n in range(_HOURS_DAYS))


def _day_hours(calendar: TradingCalendar, day: date, *, regular: bool) -> str:
    if not calendar.is_session(day):
        return f"{day:%Y%m%d}:CLOSED"
    begins, ends = (at.astimezone(NEW_YORK) for at in (calendar.opens_at(day), calendar.closes_at(day)))
    if not regular:
        latest = _LATEST if ends.time() >= _REGULAR_CLOSE else _LATEST_EARLY
        begins, ends = (datetime.combine(day, at, NEW_YORK) for at in (_EARLIEST, latest))
    return f"{begins:%Y%m%d:%H%M}-{ends:%Y%m%d:%H%M}"


def schedule(request_id: int, calendar: TradingCalendar, sessions: Sequence[date]) -> Message:
    """The regular hours of sessions, the answer to whatToShow=SCHEDULE."""
    rows = [(_second(calendar.opens_at(day)), _second(calendar.closes_at(day)), f"{day:%Y%m%d}") for day in sessions]
    flat = (field for row in rows for field in row)
    return [Reply.HISTORICAL_SCHEDULE, request_id, rows[0][0], rows[-1][1], TIME_ZONE, len(rows), *flat]


def _second(at: datetime) -> str:
    return f"{at.astimezone(NEW_YORK):%Y%m%d-%H:%M:%S}"


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
