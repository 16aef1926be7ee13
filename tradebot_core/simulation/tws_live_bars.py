"""Historical requests with keepUpToDate: after the answer, message 90 for each change of the running daily bar.

The market has daily bars, so a session's bar changes twice: it begins with its open, and is whole at its close.
"""

from dataclasses import dataclass
from datetime import date

from tradebot_core.simulation.exchange import SimulatedExchange
from tradebot_core.simulation.market_data import DailyBar
from tradebot_core.simulation.tws_messages import Message, error
from tradebot_core.simulation.tws_protocol import Reply
from tradebot_core.simulation.tws_session import Session

_MOST = 50  # requests of history that are open at a time: IBKR's historical limitations
_NOT_PROCESSED = 322


@dataclass
class _Followed:
    con_id: int
    session: date  # of the bar that was told last
    whole: bool  # whether its session was over then


class LiveBars:
    """Who follows which bars. Knows the requests of all clients of a login."""

    def __init__(self, exchange: SimulatedExchange) -> None:
        self._exchange = exchange
        self._followed: dict[tuple[Session, int], _Followed] = {}
        self._seen = self._moment

    def __len__(self) -> int:
        return len(self._followed)

    def refusal(self, request_id: int, end: str) -> Message | None:
        """Why a request cannot be kept up to date, as the error that answers it."""
        if end:
            text = "Error validating request.-'bA' : cause - End date not supported with keepUpToDate."
            return error(321, text, request_id)
        if len(self._followed) >= _MOST:
            text = f"Error processing request.-'bA' : cause - Only {_MOST} simultaneous API historical data requests allowed."
            return error(_NOT_PROCESSED, text, request_id)
        return None

    def follow(self, session: Session, request_id: int, con_id: int, last: DailyBar) -> None:
        """From the last bar of the answer on."""
        whole = not (last.session == self._exchange.opened and self._exchange.is_open)
        self._followed[session, request_id] = _Followed(con_id, last.session, whole)

    def cancel(self, session: Session, fields: list[str]) -> None:
        """CANCEL_HISTORICAL_DATA; of a request that is answered and not followed there is nothing to cancel."""
        self._followed.pop((session, int(fields[2])), None)

    def forget(self, session: Session) -> None:
        """Of a client that has gone."""
        for key in [key for key in self._followed if key[0] is session]:
            del self._followed[key]

    def lose(self) -> None:
        """All of them, without a word: what error 1101 says has happened."""
        self._followed.clear()

    def update(self) -> None:
        """Tells what has changed since the last time."""
        if self._seen == self._moment:
            return
        self._seen = self._moment
        opened = self._exchange.opened
        for (session, request_id), followed in self._followed.items():
            for bar in self._exchange.history(followed.con_id, followed.session, opened):
                if bar.session == followed.session and followed.whole:
                    continue
                session.send(_update(request_id, bar))
                followed.session = bar.session
                followed.whole = not (bar.session == opened and self._exchange.is_open)

    @property
    def _moment(self) -> tuple[date, bool]:
        """Bars change when this does, and not between."""
        return self._exchange.opened, self._exchange.is_open


def _update(request_id: int, bar: DailyBar) -> Message:
    day = f"{bar.session:%Y%m%d}"
    return [Reply.HISTORICAL_DATA_UPDATE, request_id, 0, day, bar.open, bar.close, bar.high, bar.low, bar.close, bar.volume]
