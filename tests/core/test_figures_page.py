"""docs/figures.md is complete and says what the code does."""

import re
from pathlib import Path

import polars as pl
import pytest

from tradebot_core.model.fundamentals import FIGURES
from tradebot_core.quant import ratios, scores
from tradebot_core.quant.concepts import concept_map
from tradebot_core.quant.panel import PANEL_COLUMNS

PAGE = (Path(__file__).parents[2] / "docs" / "figures.md").read_text()
ROWS = {found[1]: found[2].split(" | ") for found in re.finditer(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE)}
EXPRESSIONS = {name: e for module in (ratios, scores) for name, e in vars(module).items() if isinstance(e, pl.Expr)}
PUBLIC = {name: e for name, e in EXPRESSIONS.items() if not name.startswith("_")}


def test_every_figure_ratio_and_score_has_one_row_and_nothing_else_has():
    assert sorted(re.findall(r"^\| `(\w+)` ", PAGE, re.MULTILINE)) == sorted([*FIGURES, *PUBLIC])


@pytest.mark.parametrize("figure", FIGURES)
def test_the_unit_of_a_figure_is_that_of_its_concept(figure):
    concept = concept_map().concepts.get(re.sub("(_ttm)?(_[123]y)?$", "", figure))
    unit = "USD" if concept is None else concept.unit
    assert ROWS[figure][0] == {"USD/shares": "USD/share", "pure": "number"}.get(unit, unit)


ALTMAN = (
    scores.ALTMAN_WORKING_CAPITAL,
    scores.ALTMAN_RETAINED_EARNINGS,
    scores.ALTMAN_EBIT,
    scores.ALTMAN_MARKET_EQUITY,
    scores.ALTMAN_SALES,
)
WORDS = {  # by which a definition names what has a row of its own
    "EBIT": ratios.EBIT,
    "EBITDA": ratios.EBITDA,
    "effective tax rate": ratios.EFFECTIVE_TAX_RATE,
    "invested capital": ratios.INVESTED_CAPITAL,
    "net debt": ratios.NET_DEBT,
    "enterprise value": ratios.ENTERPRISE_VALUE,
    **{f"X{number}": expression for number, expression in enumerate(ALTMAN, start=1)},
}
# Definitions in words that name no column.
IN_WORDS = {name for name in PUBLIC if name.startswith(("F_SCORE", "F_UNKNOWN", "GREENBLATT_", "ALTMAN_Z_"))}
LEFT_OUT = {"RETURN_ON_TANGIBLE_CAPITAL": {"debt"}}  # only tells whether debt due within a year is none or unknown


@pytest.mark.parametrize("name", sorted(set(PUBLIC) - IN_WORDS))
def test_a_definition_names_the_columns_that_the_expression_reads(name):
    definition = ROWS[name][1]
    read, named = set(PUBLIC[name].meta.root_names()), set(re.findall(r"`(\w+)`", definition))
    assert named <= read <= set(PANEL_COLUMNS)
    for word, part in WORDS.items():
        if re.search(rf"\b{word}\b", definition, re.IGNORECASE):
            named |= set(part.meta.root_names())
    of_years_before = {column for column in read if re.sub("_[12]y$", "", column) in named}  # changes and averages
    assert read - named - of_years_before == LEFT_OUT.get(name, set())
