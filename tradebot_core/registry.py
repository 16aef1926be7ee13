"""From class paths in the configuration to objects. A wrong path, class or parameter stops the start and names its line."""

from importlib import import_module
from inspect import isabstract
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tradebot_core.calendar import TradingCalendar
from tradebot_core.config import CollectorSettings, Config, Settings, StrategySettings, line_of, settings_error
from tradebot_core.errors import ConfigurationError, UsageError
from tradebot_core.interfaces import Collector
from tradebot_core.model.tables import VERDICT_COLUMNS
from tradebot_core.quant.panel import PANEL_COLUMNS
from tradebot_core.strategy import Strategy
from tradebot_core.trading.variants import RESERVED, in_words, overrides_of, variant_name

_RESERVED_LAYERS = {"decisions", "orders", "positions", "backtest", "performance", "variants"}


def make_strategy(config: Config, path: Path, index: int) -> Strategy:
    """The strategy of the index-th block of `strategies`."""
    settings = config.strategies[index]
    return _make_strategy(config, path, index, settings.name, settings.params, ("strategies", index, "params"))


def make_variant(config: Config, path: Path, index: int, variant: str) -> Strategy:
    """The variant of that name of the index-th block, without its stress, which is of the market and not of the strategy.

    Raises ConfigurationError naming the line where a variant of the configuration is wrong, UsageError where the name is.
    """
    settings, name = config.strategies[index], variant_name(config.strategies[index].name, variant)
    where: tuple[str | int, ...] = ("strategies", index, "params")
    if variant in RESERVED:
        return _make_strategy(config, path, index, name, settings.params, where)
    if variant in settings.variants:
        where = ("strategies", index, "variants", variant)
        return _make_strategy(config, path, index, name, settings.params | settings.variants[variant], where)
    given = overrides_of(variant)
    kind = type(make_strategy(config, path, index))
    try:
        kind.Params.model_validate(settings.params | given)
    except ValidationError as error:
        wrong = "; ".join(f"{problem['loc'][0] if problem['loc'] else variant}: {_said(problem)}" for problem in error.errors())
        known = ", ".join(kind.Params.model_fields) or "none"
        raise UsageError(f"{name} cannot be made: {wrong}.", f"Parameters of {settings.name}: {known}.") from None
    return _make_strategy(config, path, index, variant_name(settings.name, in_words(given)), settings.params | given, where)


def require_variants(config: Config, path: Path, index: int) -> None:
    """Makes every variant of the index-th block, so that a wrong one stops the start."""
    settings = config.strategies[index]
    for variant, overrides in settings.variants.items():
        where = ("strategies", index, "variants", variant)
        if variant in RESERVED:
            raise _wrong(
                path, where, f"the variant {variant} of {settings.name} has a name that every strategy's own variant has"
            )
        if make_variant(config, path, index, variant).params == make_strategy(config, path, index).params:
            raise _wrong(path, where, f"the variant {variant} of {settings.name} ({overrides}) changes nothing")


def _said(problem: Any) -> str:
    return "no such parameter" if problem["type"] == "extra_forbidden" else str(problem["msg"]).removeprefix("Value error, ")


def _make_strategy(
    config: Config, path: Path, index: int, name: str, given: dict[str, Any], where: tuple[str | int, ...]
) -> Strategy:
    settings = config.strategies[index]
    found = _load(config, path, ("strategies", index), settings)
    if not (isinstance(found, type) and issubclass(found, Strategy)) or isabstract(found):
        raise _wrong(path, ("strategies", index, "class_path"), f"{settings.class_path} is not a Strategy")
    params = _params(found.Params, path, where, given)
    try:
        strategy = found(name, params)
        strategy.orders = settings.orders
        strategy.limits = config.layers
        features = [(layer.name, layer.adds()) for layer in strategy.layers()]
    except Exception as error:
        what = f"the strategy {settings.name} cannot be made: {type(error).__name__}: {error}"
        raise _wrong(path, ("strategies", index), what.rstrip(".")) from error
    names = [name for name, _ in features]
    if len(set(names)) < len(names) or _RESERVED_LAYERS & set(names) or not names:
        reserved = ", ".join(sorted(_RESERVED_LAYERS))
        raise _wrong(
            path,
            ("strategies", index),
            f"the layers {names} of {settings.name} must be one or more, differ, and not be {reserved}",
        )
    taken = dict.fromkeys(PANEL_COLUMNS, "a column of the panel") | dict.fromkeys(VERDICT_COLUMNS, "a part of every verdict")
    for layer, added in features:
        for feature in added:
            if feature in taken:
                what = f"the feature {feature} of layer {layer} of {settings.name} is already {taken[feature]}"
                raise _wrong(path, ("strategies", index), what)
            taken[feature] = f"a feature of layer {layer}"
    return strategy


def make_collector(config: Config, path: Path, index: int, calendar: TradingCalendar) -> Collector:
    """The collector of the index-th block of `collectors`."""
    settings = config.collectors[index]
    found = _load(config, path, ("collectors", index), settings)
    if not (isinstance(found, type) and hasattr(found, "collect") and hasattr(found, "table") and hasattr(found, "Params")):
        raise _wrong(path, ("collectors", index, "class_path"), f"{settings.class_path} is not a Collector")
    return found(_params(found.Params, path, ("collectors", index, "params"), settings.params), calendar)


def _load(config: Config, path: Path, location: tuple[str | int, ...], settings: CollectorSettings | StrategySettings) -> Any:
    where = (*location, "class_path")
    module, _, name = settings.class_path.rpartition(".")
    if not any(module == allowed or module.startswith(f"{allowed}.") for allowed in config.allowed_packages):
        raise _wrong(path, where, f"{settings.class_path} is outside allowed_packages ({', '.join(config.allowed_packages)})")
    try:
        loaded = import_module(module)
    except ModuleNotFoundError as error:
        raise _wrong(path, where, f"there is no module {error.name} for {settings.class_path}") from error
    except Exception as error:
        raise _wrong(path, where, f"module {module} cannot be loaded: {type(error).__name__}: {error}") from error
    if not hasattr(loaded, name):
        raise _wrong(path, where, f"module {module} has no class {name}")
    return getattr(loaded, name)


def _params(params: type[Settings], path: Path, location: tuple[str | int, ...], given: dict[str, Any]) -> Settings:
    try:
        return params.model_validate(given)
    except ValidationError as error:
        raise settings_error(error, path, location, params.model_fields) from None


def _wrong(path: Path, location: tuple[str | int, ...], what: str) -> ConfigurationError:
    return ConfigurationError(f"{path}, line {line_of(path, location)}: {what}.", "Correct the configuration there.")
