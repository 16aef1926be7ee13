"""What was known about a company at an instant, on the command line."""

import pytest

from tests.cli.test_export import with_a_restated_revenue
from tests.markets import cik_of


def test_a_figure_as_the_market_knew_it_at_an_instant(desk):
    def net_income(as_of: str) -> tuple[float, str]:
        known = desk.json("facts", "FADE", "net_income_ttm", "--as-of", as_of)["known"]
        (figure,) = known["figures"]
        return figure["value"], known["period_end"]

    assert net_income("2024-05-01T11:59:59+00:00") == (7e8, "2023-12-31")
    assert net_income("2024-05-01T12:00:00+00:00") == (-1e8, "2024-03-31")


def test_without_names_every_figure_is_shown_and_a_missing_one_says_why(desk):
    result = desk.run("facts", "good")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("GOOD  GOOD (test)  CIK 9900000001, as known at 2024-06-28")
    assert any(line.split() == ["revenue_ttm", "5,000,000,000"] for line in lines)
    assert any(line.startswith("eps_diluted_ttm") and "missing" in line for line in lines)


def test_each_report_of_a_number_names_its_filing(desk):
    with_a_restated_revenue(desk)

    def reports(*options: str) -> list[tuple[float, str]]:
        rows = desk.json("facts", "GOOD", "Revenues", *options)["reports"]
        return [(row["value"], row["accession"]) for row in rows]

    first, second = (500, "0000000001-24-000001"), (480, "0000000001-24-000002")
    assert reports() == [second]
    assert reports("--as-of", "2024-03-31") == [first]
    assert reports("--reports", "first") == [first]
    assert reports("--reports", "all") == [first, second]
    assert reports("--period-end", "2022-12-31") == []
    text = desk.run("facts", "GOOD", "Revenues", "--reports", "all").stdout
    assert "2023-01-01 to 2023-12-31" in text and "known 2024-02-01 21:00 UTC" in text


def test_a_company_is_found_by_its_cik(desk):
    assert desk.json("facts", cik_of("GOOD"), "assets")["company"]["symbol"] == "GOOD"


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["GOD"], "The store knows no company GOD at 2024-06-28. Did you mean GOOD?"),
        (["GOOD", "revenue"], "No filing of GOOD known by then reports revenue. Did you mean revenue_ttm"),
        (["GOOD", "--as-of", "2024-01-02"], "No filing of GOOD was known at 2024-01-02 23:00 UTC. Ask for a later instant"),
        (["GOOD", "--as-of", "2024-01-02T10:00"], "has no time zone"),
        (["GOOD", "--reports", "some"], "'some' is not one of 'all', 'first', 'known'"),
    ],
)
def test_what_is_not_known_is_said_with_what_may_have_been_meant(desk, arguments, cause):
    result = desk.run("facts", *arguments)
    assert result.exit_code in (1, 2)
    assert cause in " ".join(result.output.split())


@pytest.mark.parametrize("command", [("facts", "GOOD"), ("export", "fundamentals", "--format", "csv", "-o", "-")])
@pytest.mark.parametrize("future", ["2024-06-29", "2099-01-01T00:00:00+00:00"])
def test_what_will_be_known_is_not_told(desk, command, future):
    result = desk.run(*command, "--as-of", future)
    assert result.exit_code == 2
    assert "is in the future: nobody knows what will be known then." in result.stderr
    assert "Give --as-of 2024-06-28 or before." in result.stderr
    assert desk.run(*command, "--as-of", "2024-06-28").exit_code == 0
