"""Asking a gateway for fundamental reports, in a way that ends: whatever it answers, says, or leaves unsaid.

ib_async waits for ever after error 321 and after silence, reads a message of any length into memory, and gives an empty list for a
refused request unless it is told to raise. Here every request has a time limit, is cancelled when it is given up, hears the errors
of its own number, and the connection is cut as soon as a message announces more than a report can have.
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from ib_async import IB, Contract, RequestError

from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.errors import DataError
from tradebot_core.ibkr.connection import BrokerError, Client, run
from tradebot_core.ibkr.contracts import Named, qualify
from tradebot_core.ibkr.reports.plan import Refusal, Refused, ReportPlan, Wanted
from tradebot_core.ibkr.reports.safe_xml import MAX_BYTES

ANSWER_TIMEOUT_S = 30.0
_OF_CODE = {10358: Refusal.NOT_ALLOWED, 430: Refusal.NO_REPORT, 321: Refusal.NOT_VALID}


class _TooLarge(Exception):
    pass


def ask_for_reports(
    settings: IbkrSettings,
    plan: ReportPlan,
    keep: Callable[[Wanted, str], None],
    before_each: Callable[[Wanted], Awaitable[None]],
    timeout_s: float = ANSWER_TIMEOUT_S,
) -> None:
    """Goes through the plan, one request at a time; `keep` is given each report when it comes, `before_each` may wait."""

    async def work(ib: IB) -> None:
        contracts: dict[int, Contract] = {}
        watch = _Watch(ib)
        while (wanted := plan.next()) is not None:
            try:
                contract = contracts.get(wanted.cik) or await qualify(ib, Named(wanted.symbol, wanted.con_id))
            except BrokerError as error:
                plan.heard(Refused(wanted, Refusal.OTHER, str(error)))
                continue
            contracts[wanted.cik] = contract
            await before_each(wanted)
            answer = await _ask(ib, watch, wanted, contract, timeout_s)
            if isinstance(answer, Refused):
                plan.heard(answer)
            else:
                keep(wanted, answer)
                plan.answered(wanted)
        plan.close()

    run(settings, Mode.DRY_RUN, work, client=Client.REPORTS, failure=DataError)


async def _ask(ib: IB, watch: "_Watch", wanted: Wanted, contract: Contract, timeout_s: float) -> str | Refused:
    request_id = ib.client.getReqId()
    answer = ib.wrapper.startReq(request_id, contract)
    heard = watch.begin(request_id)
    ib.client.reqFundamentalData(request_id, contract, str(wanted.report), [])
    done, _ = await asyncio.wait({answer, heard}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    try:
        if heard in done:  # before the answer: cutting the connection ends that one too
            answer.cancel()
            return Refused(wanted, Refusal.NOT_VALID, heard.result())
        if answer not in done:
            answer.cancel()
            ib.client.cancelFundamentalData(request_id)
            return Refused(wanted, Refusal.SILENCE, f"no answer in {timeout_s:g} s")
        report = answer.result()
    except _TooLarge as error:
        return Refused(wanted, Refusal.TOO_LARGE, str(error))
    except RequestError as error:
        return Refused(wanted, _OF_CODE.get(error.code, Refusal.OTHER), f"IBKR {error.code}: {error.message}")
    if not isinstance(report, str):
        return Refused(wanted, Refusal.NO_TEXT, f"the answer is a {type(report).__name__}, not a document")
    return report


class _Watch:
    """What ib_async does not end a request for: error 321 (it takes it for a warning), and a message without end."""

    def __init__(self, ib: IB) -> None:
        self._ib = ib
        self._request_id = -1
        self._heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        ib.errorEvent += self._on_error
        ib.client.conn.hasData += self._on_data  # after the client's own handler, which keeps what is not yet a whole message

    def begin(self, request_id: int) -> asyncio.Future[str]:
        self._request_id = request_id
        self._heard = asyncio.get_running_loop().create_future()
        return self._heard

    def _on_error(self, request_id: int, code: int, text: str, _contract: Any) -> None:
        if request_id == self._request_id and _OF_CODE.get(code) is Refusal.NOT_VALID and not self._heard.done():
            self._heard.set_result(f"IBKR {code}: {text}")

    def _on_data(self, _data: bytes) -> None:
        pending = self._ib.client._data
        announced = struct.unpack(">I", pending[:4])[0] if len(pending) >= 4 else 0
        if announced > MAX_BYTES:
            if not self._heard.done():
                self._heard.set_exception(_TooLarge(f"a message of {announced} bytes was announced; the limit is {MAX_BYTES}"))
            if (transport := self._ib.client.conn.transport) is not None:
                transport.abort()
