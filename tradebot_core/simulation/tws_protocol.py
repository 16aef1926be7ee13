"""The TWS text protocol at server version 178: frames, and the order of the fields in each message.

A frame is a 4-byte big-endian length and fields that each end with NUL; bool is 1 or 0; "" is an unset number. The layouts are
those that ib_async 2.1.0 reads and writes: decoder.Decoder (openOrder, completedOrder, execDetails, contractDetails) and
client.Client.placeOrder. At version 178 most of these messages carry no version field of their own.
"""

import asyncio
import struct
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import IntEnum

from tradebot_core.calendar import NEW_YORK

SERVER_VERSION = 178  # what a current gateway agrees on with ib_async's "v157..178"
UNSET_DOUBLE = "1.7976931348623157E308"
TIME_ZONE = "US/Eastern"
_MAX_FRAME_BYTES = 1 << 20

Field = str | int | float | Decimal | bool | None


class Request(IntEnum):
    MARKET_DATA = 1
    CANCEL_MARKET_DATA = 2
    PLACE_ORDER = 3
    CANCEL_ORDER = 4
    OPEN_ORDERS = 5
    ACCOUNT_UPDATES = 6
    EXECUTIONS = 7
    NEXT_ID = 8
    CONTRACT_DETAILS = 9
    SERVER_LOG_LEVEL = 14
    AUTO_OPEN_ORDERS = 15
    ALL_OPEN_ORDERS = 16
    MANAGED_ACCOUNTS = 17
    HISTORICAL_DATA = 20
    CANCEL_HISTORICAL_DATA = 25
    CURRENT_TIME = 49
    FUNDAMENTAL_DATA = 52
    CANCEL_FUNDAMENTAL_DATA = 53
    GLOBAL_CANCEL = 58
    MARKET_DATA_TYPE = 59
    POSITIONS = 61
    ACCOUNT_SUMMARY = 62
    CANCEL_ACCOUNT_SUMMARY = 63
    CANCEL_POSITIONS = 64
    START_API = 71
    ACCOUNT_UPDATES_MULTI = 76
    CANCEL_ACCOUNT_UPDATES_MULTI = 77
    HEAD_TIMESTAMP = 87
    CANCEL_HEAD_TIMESTAMP = 90
    MARKET_RULE = 91
    COMPLETED_ORDERS = 99


class Reply(IntEnum):
    TICK_PRICE = 1
    ORDER_STATUS = 3
    ERROR = 4
    OPEN_ORDER = 5
    ACCOUNT_VALUE = 6
    PORTFOLIO = 7
    ACCOUNT_TIME = 8
    NEXT_ID = 9
    CONTRACT_DETAILS = 10
    EXECUTION = 11
    MANAGED_ACCOUNTS = 15
    HISTORICAL_DATA = 17
    CURRENT_TIME = 49
    FUNDAMENTAL_DATA = 51
    CONTRACT_DETAILS_END = 52
    OPEN_ORDERS_END = 53
    ACCOUNT_END = 54
    EXECUTIONS_END = 55
    SNAPSHOT_END = 57
    MARKET_DATA_TYPE = 58
    COMMISSION = 59
    POSITION = 61
    POSITIONS_END = 62
    ACCOUNT_SUMMARY = 63
    ACCOUNT_SUMMARY_END = 64
    ACCOUNT_VALUE_MULTI = 73
    ACCOUNT_MULTI_END = 74
    TICK_REQUEST_PARAMETERS = 81
    HEAD_TIMESTAMP = 88
    HISTORICAL_DATA_UPDATE = 90
    MARKET_RULE = 93
    COMPLETED_ORDER = 101
    COMPLETED_ORDERS_END = 102
    HISTORICAL_SCHEDULE = 106


# Frames.


def encode(field: Field) -> str:
    if field is None:
        return ""
    if isinstance(field, bool):
        return "1" if field else "0"
    if isinstance(field, Decimal):
        return f"{field:f}"
    return str(int(field)) if isinstance(field, IntEnum) else str(field)


def frame(fields: Sequence[Field]) -> bytes:
    payload = "".join(encode(field) + "\0" for field in fields).encode()
    return struct.pack(">I", len(payload)) + payload


async def read_payload(reader: asyncio.StreamReader) -> bytes:
    """One frame's content. Raises IncompleteReadError when the peer has gone, ValueError on a frame of absurd length."""
    (length,) = struct.unpack(">I", await reader.readexactly(4))
    if length > _MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {length} bytes")
    return await reader.readexactly(length)


async def read_fields(reader: asyncio.StreamReader) -> list[str]:
    payload = await read_payload(reader)
    return payload.decode(errors="backslashreplace").removesuffix("\0").split("\0")


def timestamp(at: datetime) -> str:
    return f"{at.astimezone(NEW_YORK):%Y%m%d %H:%M:%S} {TIME_ZONE}"


# Layouts: names in the order of the wire. A count, and whatever else the client reads as an integer without a fallback, has
# its value in _FIXED; every other name that the caller does not give is unset.


def _names(layout: str) -> tuple[str, ...]:
    return tuple(layout.split())


_CONTRACT = (
    "conId symbol secType lastTradeDateOrContractMonth strike right multiplier exchange currency localSymbol tradingClass"
)

_OPEN_ORDER = _names(f"""
    orderId {_CONTRACT}
    action totalQuantity orderType lmtPrice auxPrice tif ocaGroup account openClose origin orderRef clientId permId
    outsideRth hidden discretionaryAmt goodAfterTime sharesAllocation faGroup faMethod faPercentage
    modelCode goodTillDate rule80A percentOffset settlingFirm shortSaleSlot designatedLocation exemptCode auctionStrategy
    startingPrice stockRefPrice delta stockRangeLower stockRangeUpper displaySize blockOrder sweepToFill allOrNone minQty ocaType
    eTradeOnly firmQuoteOnly nbboPriceCap parentId triggerMethod volatility volatilityType
    deltaNeutralOrderType deltaNeutralAuxPrice deltaNeutralConId deltaNeutralSettlingFirm deltaNeutralClearingAccount
    deltaNeutralClearingIntent deltaNeutralOpenClose deltaNeutralShortSale deltaNeutralShortSaleSlot
    deltaNeutralDesignatedLocation
    continuousUpdate referencePriceType trailStopPrice trailingPercent basisPoints basisPointsType comboLegsDescrip
    comboLegs orderComboLegs smartComboRoutingParams scaleInitLevelSize scaleSubsLevelSize scalePriceIncrement hedgeType
    optOutSmartRouting clearingAccount clearingIntent notHeld deltaNeutralContract algoStrategy
    solicited whatIf status initMarginBefore maintMarginBefore equityWithLoanBefore initMarginChange maintMarginChange
    equityWithLoanChange initMarginAfter maintMarginAfter equityWithLoanAfter commission minCommission maxCommission
    commissionCurrency warningText randomizeSize randomizePrice
    conditions adjustedOrderType triggerPrice trailStopPrice lmtPriceOffset adjustedStopPrice adjustedStopLimitPrice
    adjustedTrailingAmount adjustableTrailingUnit softDollarTierName softDollarTierValue softDollarTierDisplayName
    cashQty dontUseAutoPriceForHedge isOmsContainer discretionaryUpToLimitPrice usePriceMgmtAlgo
    duration postToAts autoCancelParent minTradeQty minCompeteSize competeAgainstBestOffset midOffsetAtWhole midOffsetAtHalf
""")

_COMPLETED_ORDER = _names(f"""
    {_CONTRACT}
    action totalQuantity orderType lmtPrice auxPrice tif ocaGroup account openClose origin orderRef permId
    outsideRth hidden discretionaryAmt goodAfterTime faGroup faMethod faPercentage
    modelCode goodTillDate rule80A percentOffset settlingFirm shortSaleSlot designatedLocation exemptCode
    startingPrice stockRefPrice delta stockRangeLower stockRangeUpper displaySize sweepToFill allOrNone minQty ocaType
    triggerMethod volatility volatilityType
    deltaNeutralOrderType deltaNeutralAuxPrice deltaNeutralConId deltaNeutralShortSale deltaNeutralShortSaleSlot
    deltaNeutralDesignatedLocation
    continuousUpdate referencePriceType trailStopPrice trailingPercent comboLegsDescrip
    comboLegs orderComboLegs smartComboRoutingParams scaleInitLevelSize scaleSubsLevelSize scalePriceIncrement hedgeType
    clearingAccount clearingIntent notHeld deltaNeutralContract algoStrategy solicited status randomizeSize randomizePrice
    conditions trailStopPrice lmtPriceOffset cashQty dontUseAutoPriceForHedge isOmsContainer
    autoCancelDate filledQuantity refFuturesConId autoCancelParent shareholder imbalanceOnly routeMarketableToBbo parentPermId
    completedTime completedStatus minTradeQty minCompeteSize competeAgainstBestOffset midOffsetAtWhole midOffsetAtHalf
""")

_EXECUTION = _names(f"""
    reqId orderId {_CONTRACT}
    execId time acctNumber executionExchange side shares price permId clientId liquidation cumQty avgPrice orderRef
    evRule evMultiplier modelCode lastLiquidity pendingPriceRevision
""")

_CONTRACT_DETAILS = _names("""
    reqId symbol secType lastTradeDateOrContractMonth strike right exchange currency localSymbol marketName tradingClass
    conId minTick multiplier orderTypes validExchanges priceMagnifier underConId longName primaryExchange contractMonth
    industry category subcategory timeZoneId tradingHours liquidHours evRule evMultiplier secIds aggGroup underSymbol
    underSecType marketRuleIds realExpirationDate stockType minSize sizeIncrement suggestedSizeIncrement
""")

_FIXED: Mapping[str, Field] = {
    "comboLegs": 0,
    "orderComboLegs": 0,
    "smartComboRoutingParams": 0,
    "deltaNeutralContract": 0,
    "conditions": 0,
    "secIds": 0,
    "deltaNeutralOrderType": "None",  # what TWS sends for a plain order, and with it the fields of a delta-neutral one
    "openClose": "O",
    "exemptCode": -1,
}

LAYOUTS: Mapping[Reply, Sequence[str]] = {
    Reply.OPEN_ORDER: _OPEN_ORDER,
    Reply.COMPLETED_ORDER: _COMPLETED_ORDER,
    Reply.EXECUTION: _EXECUTION,
    Reply.CONTRACT_DETAILS: _CONTRACT_DETAILS,
}


def lay_out(reply: Reply, values: Mapping[str, Field | Sequence[Field]]) -> list[Field]:
    """The fields of a long message; a sequence stands for a section of several fields. Raises KeyError on a value whose name
    the message does not have."""
    layout = LAYOUTS[reply]
    if unknown := values.keys() - set(layout):
        raise KeyError(f"{reply.name} has no {', '.join(sorted(unknown))}")
    message: list[Field] = [reply]
    for name in layout:
        value = values.get(name, _FIXED.get(name))
        if isinstance(value, list | tuple):
            message += value
        else:
            message.append(value)  # type: ignore[arg-type]
    return message


# The order as a client sends it, up to whatIf; what follows is of no concern to plain orders.

_PLACE_ORDER = _names("""
    orderId conId symbol secType lastTradeDateOrContractMonth strike right multiplier exchange primaryExchange currency
    localSymbol tradingClass secIdType secId action totalQuantity orderType lmtPrice auxPrice tif ocaGroup account
    openClose origin orderRef transmit parentId blockOrder sweepToFill displaySize triggerMethod outsideRth hidden
    sharesAllocation discretionaryAmt goodAfterTime goodTillDate faGroup faMethod faPercentage modelCode shortSaleSlot
    designatedLocation exemptCode ocaType rule80A settlingFirm allOrNone minQty percentOffset eTradeOnly firmQuoteOnly
    nbboPriceCap auctionStrategy startingPrice stockRefPrice delta stockRangeLower stockRangeUpper
    overridePercentageConstraints volatility volatilityType deltaNeutralOrderType deltaNeutralAuxPrice continuousUpdate
    referencePriceType trailStopPrice trailingPercent scaleInitLevelSize scaleSubsLevelSize scalePriceIncrement scaleTable
    activeStartTime activeStopTime hedgeType optOutSmartRouting clearingAccount clearingIntent notHeld
    deltaNeutralContract algoStrategy algoId whatIf
""")
# Fields after which more follow when they are set: what only a combination, hedge or scale has. An algorithm is read.
_OPENS_A_SECTION = ("deltaNeutralOrderType", "scalePriceIncrement", "hedgeType", "deltaNeutralContract")


def read_order(fields: Sequence[str]) -> tuple[dict[str, str], tuple[tuple[str, str], ...]]:
    """The named fields of a PLACE_ORDER for a share, and the terms of its algorithm as (tag, value). Raises ValueError on an
    order of a kind that is not simulated."""
    algorithm = 1 + _PLACE_ORDER.index("algoStrategy")
    terms: tuple[tuple[str, str], ...] = ()
    plain = list(fields)
    if len(plain) > algorithm + 1 and plain[algorithm]:
        count = int(plain[algorithm + 1])
        section = plain[algorithm + 2 : algorithm + 2 + 2 * count]
        terms = tuple(zip(section[::2], section[1::2], strict=True))
        del plain[algorithm + 1 : algorithm + 2 + 2 * count]
    order = dict(zip(_PLACE_ORDER, plain[1:], strict=False))
    sections = [name for name in _OPENS_A_SECTION if order.get(name, "") not in ("", "0")]
    if order.get("secType") != "STK" or sections or len(order) < len(_PLACE_ORDER):
        raise ValueError(f"only plain orders for shares are simulated, not {', '.join(sections) or order.get('secType')}")
    return order, terms


_CONTRACT_FIELDS = _names("""
    conId symbol secType lastTradeDateOrContractMonth strike right multiplier exchange primaryExchange currency localSymbol
    tradingClass
""")


def read_contract(fields: Sequence[str], start: int) -> dict[str, str]:
    """The contract that a request names, its twelve fields beginning at `start`."""
    return dict(zip(_CONTRACT_FIELDS, fields[start : start + len(_CONTRACT_FIELDS)], strict=True))
