"""A symbol of the universe that never was is a mistake of the configuration, and is named."""

import pytest

from tests.markets import CONFIG, SESSIONS, fill_store, tradebot
from tradebot_core.errors import UsageError


def universe(folder, symbols: str):
    bot = tradebot(folder, text=CONFIG + f"universe: {{{{symbols: [{symbols}]}}}}\n")
    fill_store(bot)
    return bot


@pytest.mark.parametrize(
    ("symbols", "said"),
    [
        ("GOOD, GODO", r"called: GODO\. GODO: did you mean GOOD\?"),
        ("good", r"called: good\. good: symbols are written in capitals, GOOD\."),
        ("XQZW, LOSSS", r"called: XQZW, LOSSS\. XQZW: correct it, .* LOSSS: did you mean LOSS\?"),
    ],
)
def test_a_symbol_that_no_security_ever_had_is_named_with_what_may_be_meant(tmp_path, symbols, said):
    with pytest.raises(UsageError, match=said):
        universe(tmp_path, symbols).securities(SESSIONS[30])


def test_known_symbols_are_looked_at_alone(tmp_path):
    assert universe(tmp_path, "GOOD, LOSS").securities(SESSIONS[30])["symbol"].sort().to_list() == ["GOOD", "LOSS"]
