"""One company, one position: of an issuer's share classes only one is a candidate.

GOOG and GOOGL are the same business with the same figures; ranked by these they stand side by side, and bought together they are one
position of twice the size that the limits allow. The class that is held stays the one; else it is the more liquid.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tradebot_core.model.candidates import security_ids
from tradebot_core.model.decision import Candidate, Verdict
from tradebot_core.model.security import issuer_of


def of_one_class(
    candidates: Sequence[Candidate], volumes: Mapping[int, float], held: Sequence[int]
) -> tuple[Sequence[Candidate], list[tuple[Candidate, Verdict]]]:
    """The candidates that may be considered, in their order, and those passed over, with the reason.

    `volumes`: median dollar volume (USD) by security_id; one that is not known counts as none, and the lower number wins a tie.
    """
    if not _several_classes(candidates, held):
        return candidates, []
    held_class = {issuer_of(security): security for security in held}
    chosen = dict(held_class)
    for candidate in sorted(candidates, key=lambda c: (-volumes.get(c.security_id, 0.0), c.security_id)):
        chosen.setdefault(issuer_of(candidate.security_id), candidate.security_id)
    kept, passed_over = [], []
    for candidate in candidates:
        issuer = issuer_of(candidate.security_id)
        if candidate.security_id == chosen[issuer] or candidate.security_id in held:
            kept.append(candidate)
        elif issuer in held_class:
            passed_over.append((candidate, Verdict(False, "other_class_held", None, None)))
        else:
            volume, most = volumes.get(candidate.security_id), volumes.get(chosen[issuer])
            passed_over.append((candidate, Verdict(False, "more_liquid_class", volume, most)))
    return kept, passed_over


def _several_classes(candidates: Sequence[Candidate], held: Sequence[int]) -> bool:
    """Whether two candidates are of one issuer, or one is of another class than what is held of its issuer."""
    found, own = security_ids(candidates), np.array(held, np.int64)
    issuers, of_held = issuer_of(found), issuer_of(own)  # type: ignore[arg-type]
    if (issuers[1:] == issuers[:-1]).any():
        return True
    candidates_of_it = issuers.searchsorted(of_held, "right") - issuers.searchsorted(of_held)
    is_candidate = found.searchsorted(own, "right") - found.searchsorted(own)
    return bool((candidates_of_it > is_candidate).any())
