"""Which contract is meant, and what IBKR knows of it."""

from dataclasses import dataclass

from ib_async import IB, Contract, ContractDetails, Stock

from tradebot_core.ibkr.connection import BrokerError, answer

NO_DEFINITION = 200


@dataclass(frozen=True, slots=True)
class Named:
    """A share as we know it; the broker's number of the listing, where we have it, says it without doubt."""

    symbol: str
    con_id: int | None = None


@dataclass(frozen=True, slots=True)
class ContractFacts:
    symbol: str
    con_id: int
    name: str
    exchange: str
    industry: str
    category: str


def broker_symbol(symbol: str) -> str:
    """IBKR writes a share class after a space (BRK B), where others write a point or a hyphen."""
    return symbol.replace(".", " ").replace("-", " ")


async def qualify(ib: IB, share: Named) -> Contract:
    """The contract of `details_of`."""
    return (await details_of(ib, share)).contract


async def facts_of(ib: IB, share: Named) -> ContractFacts | BrokerError:
    """What IBKR knows of a share, or why it knows nothing."""
    try:
        found = await details_of(ib, share)
    except BrokerError as error:
        return error
    assert found.contract is not None
    return ContractFacts(
        share.symbol, found.contract.conId, found.longName, found.contract.primaryExchange, found.industry, found.category
    )


async def details_of(ib: IB, share: Named) -> ContractDetails:
    """The one US share that is meant, to be routed by SMART. Raises BrokerError 200 when there is none, or more than one."""
    found = [details for details in await answer(ib, ib.reqContractDetailsAsync(_asked(share))) if details.contract is not None]
    if len(found) != 1 or found[0].contract.secType != "STK" or found[0].contract.currency != "USD":
        raise BrokerError(NO_DEFINITION, f"{len(found)} contracts answer to {share.symbol}, and one US share is wanted")
    found[0].contract.exchange = "SMART"
    return found[0]


def _asked(share: Named) -> Contract:
    if share.con_id is not None:
        return Contract(conId=share.con_id, exchange="SMART")
    return Stock(broker_symbol(share.symbol), "SMART", "USD")
