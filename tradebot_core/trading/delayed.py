"""A market in which the layers' verdicts reach the decision a session late: what a backtest is worth when it acts a day later.

Candidates and verdicts are those of the session before; prices, volumes, the book and what happens to it are those of the session.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

from tradebot_core.trading.markets import MarketHistory
from tradebot_core.trading.session import Close, LastPrice, SessionMarket


class DelayedHistory:
    """One year's history, with that of the year before for its first session (None: the first session sees no verdict)."""

    def __init__(self, history: MarketHistory, before: "DelayedHistory | None") -> None:
        self._history = history
        self._source: MarketHistory | None = before._history if before is not None else None
        self._source_session: date | None = before._session if before is not None else None
        self._session: date | None = None

    def warm_up(self, prices: Mapping[int, LastPrice]) -> None:
        self._history.warm_up(prices)

    def close(self, session: date) -> Close:
        if self._session is not None:
            self._source, self._source_session = self._history, self._session
        self._session = session
        return self._history.close(session)

    def market(self, session: date, held: Sequence[int]) -> SessionMarket:
        now = self._history.market(session, held)
        if self._source is None or self._source_session is None:
            return replace(now, candidates=(), verdicts={})
        then = self._source.market(self._source_session, held)
        return replace(now, candidates=then.candidates, verdicts=then.verdicts)

    def open_price(self, security_id: int, session: date) -> float | None:
        return self._history.open_price(security_id, session)

    def traded_range(self, security_id: int, session: date) -> tuple[float, float] | None:
        return self._history.traded_range(security_id, session)

    def voids_orders(self, security_id: int, session: date) -> bool:
        return self._history.voids_orders(security_id, session)
