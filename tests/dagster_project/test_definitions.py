import re
from pathlib import Path

import dagster as dg
import pytest

from tests import markets
from tradebot_core.errors import ConfigurationError
from tradebot_core.wiring import load
from tradebot_dagster import definitions
from tradebot_dagster.defs import definitions_of

ROOT = Path(definitions.__file__).parents[1]
LIVE = {"decisions", "orders", "positions", "account"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The project's own configuration, on a store of its own."""
    text = (ROOT / "config.yaml").read_text()
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def assets(defs: dg.Definitions) -> list[dg.AssetSpec]:
    return list(defs.resolve_all_asset_specs())


def test_the_configuration_as_it_comes_gives_these_assets(config: Path) -> None:
    defs = definitions_of(load(config))
    dg.Definitions.validate_loadable(defs)
    assert sorted(spec.key.to_user_string() for spec in assets(defs)) == [
        "account",
        "contract_details",
        "corporate_actions",
        "fundamentals",
        "price_bars",
        "quality_growth/backtest",
        "quality_growth/decisions",
        "quality_growth/growth",
        "quality_growth/orders",
        "quality_growth/performance",
        "quality_growth/positions",
        "quality_growth/quality",
        "quality_growth/screen",
        "quality_growth/variants",
        "value_investor/analyze",
        "value_investor/backtest",
        "value_investor/decisions",
        "value_investor/orders",
        "value_investor/performance",
        "value_investor/positions",
        "value_investor/screen",
        "value_investor/variants",
    ]


def test_the_jobs_schedules_and_sensors_have_these_names(config: Path) -> None:
    repository = definitions_of(load(config)).get_repository_def()
    assert {job.name for job in repository.get_all_jobs()} == {
        "decide",
        "submit_orders",
        "record_fills",
        "shadow_backtest",
        "sweep",
        "backtest_value_investor",
        "backtest_quality_growth",
        "__ASSET_JOB",
    }
    assert {s.name for s in repository.schedule_defs} == {"decide_after_the_close", "shadow_backtest_after_decisions"}
    assert {s.name for s in repository.sensor_defs} == {
        "record_fills_after_the_open",
        "submit_live_decisions",
        "tell_of_failures",
    }


def test_only_the_live_path_is_given_the_trading_desk(config: Path) -> None:
    for key, asset in definitions_of(load(config)).get_repository_def().assets_defs_by_key.items():
        expected = "execution" if key.path[-1] in LIVE else "research"
        assert asset.required_resource_keys - {"io_manager"} == {expected}, key


def test_the_desk_has_one_place(config: Path) -> None:
    defs = definitions_of(load(config))
    pools = {key.path[-1]: asset.op.pool for key, asset in defs.get_repository_def().assets_defs_by_key.items()}
    assert {step for step, pool in pools.items() if pool == "broker"} == LIVE


def test_what_touches_the_ledger_has_a_queue_of_its_own_and_goes_first(config: Path) -> None:
    jobs = definitions_of(load(config)).get_repository_def().get_all_jobs()
    tagged = {job.name: (job.tags.get("dagster-celery/queue"), job.tags.get("dagster/priority")) for job in jobs}
    at_the_desk = {name for name, tags in tagged.items() if tags == ("trading", "1")}
    assert at_the_desk == {"decide", "submit_orders", "record_fills"}
    assert {tags for name, tags in tagged.items() if name not in at_the_desk} == {(None, None)}


def test_run_configuration_carries_nothing_but_restart(config: Path) -> None:
    """No symbol, side, quantity, account or mode, and no path to another configuration."""
    repository = definitions_of(load(config)).get_repository_def()
    for key, asset in repository.assets_defs_by_key.items():
        fields = getattr(asset.op.config_schema.config_type, "fields", {}) or {}
        assert set(fields) == ({"restart"} if key.path[-1] == "backtest" else set()), key
    for resource in repository.get_top_level_resources().values():
        assert not getattr(resource.config_schema.config_type, "fields", {})


def test_every_asset_says_what_it_is(config: Path) -> None:
    for spec in assets(definitions_of(load(config))):
        assert len(spec.description or "") > 60, spec.key
        assert spec.kinds and spec.owners and spec.group_name, spec.key


def test_layers_rest_on_what_the_strategy_subscribes_to(config: Path) -> None:
    graph = definitions_of(load(config)).resolve_asset_graph()

    def upstream(key: str) -> set[str]:
        return {parent.to_user_string() for parent in graph.get(dg.AssetKey(key.split("/"))).parent_keys}

    facts = {"contract_details", "price_bars", "corporate_actions", "fundamentals"}
    assert upstream("value_investor/screen") == facts
    assert upstream("value_investor/analyze") == {"value_investor/screen"}
    assert upstream("value_investor/decisions") == {"value_investor/analyze", "price_bars", "corporate_actions"}
    assert upstream("value_investor/backtest") == {
        "value_investor/analyze",
        "value_investor/backtest",
        "price_bars",
        "corporate_actions",
    }
    assert upstream("value_investor/orders") == {"value_investor/decisions"}
    assert upstream("price_bars") == {"contract_details"}


def test_a_disabled_strategy_has_no_assets(tmp_path: Path) -> None:
    text = markets.CONFIG.replace("allocated_capital: 30000", "allocated_capital: 30000\n    enabled: false")
    keys = {spec.key.path[0] for spec in assets(definitions_of(markets.tradebot(tmp_path, text=text)))}
    assert keys == {"value_investor"}


def test_a_configuration_without_strategies_loads(tmp_path: Path) -> None:
    bot = markets.tradebot(tmp_path, text="data_store: {{path: {store}}}\n")
    dg.Definitions.validate_loadable(definitions_of(bot))


@pytest.mark.parametrize(
    ("written", "instead", "said"),
    [
        ("max_positions: 10", "max_positons: 10", "max_positons: no such setting"),
        ("allocated_capital: 50000", "allocated_capital: -1", "allocated_capital"),
        ("value_investor.ValueInvestor", "value_investor.ValueInvestr", "no class ValueInvestr"),
    ],
)
def test_a_wrong_configuration_stops_the_load_and_names_the_line(
    config: Path, monkeypatch: pytest.MonkeyPatch, written: str, instead: str, said: str
) -> None:
    text = config.read_text().replace(written, instead)
    line = next(n for n, wrong in enumerate(text.splitlines(), start=1) if instead in wrong)
    config.write_text(text)
    monkeypatch.setenv("TRADEBOT_CONFIG", str(config))
    with pytest.raises(ConfigurationError, match=re.escape(f"{config}, line {line}: ")) as stopped:
        definitions.defs()
    assert said in str(stopped.value)
