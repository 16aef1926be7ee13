"""The layers of QV20 with a decide step that has a parameter, and looks at no more candidates than it has places."""

from collections.abc import Sequence

from benchmarks.backtests.qv20 import QV20
from tradebot_core.config import Settings
from tradebot_core.model.decision import Decision, Verdict
from tradebot_core.strategy import SessionView


class Params(Settings):
    places: int = 20


class BestRanked(QV20):
    """Holds what ranks within three times its places, and fills the free ones with the best."""

    Params = Params
    params: Params

    def decide(self, view: SessionView) -> Sequence[Decision]:
        places, decisions = self.params.places, []
        last = 3 * places
        kept: set[int] = set()
        for holding in view.holdings:
            rank = holding.candidate.features["rank"] if holding.candidate is not None else None
            verdict = Verdict(rank is not None and rank <= last, "rank", rank, last)
            decisions.append(view.hold(holding, verdict) if verdict.passed else view.sell(holding, verdict))
            if verdict.passed:
                kept.add(holding.security_id)
        held, cash = {holding.security_id for holding in view.holdings}, view.cash_weight
        for candidate in view.candidates[:places]:
            if candidate.security_id not in held and len(kept) < places and cash >= 0.5 / places:
                weight = min(1 / places, cash)
                decisions.append(view.buy(candidate, weight, Verdict(True, "rank", candidate.features["rank"], places)))
                kept.add(candidate.security_id)
                cash -= weight
        return decisions
