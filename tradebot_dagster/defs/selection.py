"""What the number of trials leaves of a result, as metadata."""

import dagster as dg

from tradebot_core.trading.trials import Selection


def of_selection(found: Selection) -> dict[str, object]:
    """The number of trials and what follows from it, beside the figures of any backtest."""
    numbers = {
        "lucky_sharpe": found.lucky_sharpe,
        "deflated_sharpe": found.deflated_sharpe,
        "probability_of_overfitting": found.overfitting,
    }
    return {
        "trials": found.trials,
        "trial_runs": found.runs,
        **{name: round(value, 4) for name, value in numbers.items() if value is not None},
        **({"trials_say": dg.MetadataValue.md("\n".join(f"- {note}" for note in found.notes))} if found.notes else {}),
    }
