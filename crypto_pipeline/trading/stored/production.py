"""What production trades with: the settings, and the changes that a person made of them."""

from __future__ import annotations

from pydantic import ValidationError

from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.settings import Settings, SettingsError
from crypto_pipeline.store import Store
from crypto_pipeline.store.trading.ledger import AccountRow
from crypto_pipeline.trading.parameters import TradingParameters
from crypto_pipeline.trading.shadow.variants import CHAMPION, VARIANTS

#: The account that is traded on paper.
PAPER = "paper"


def settings_parameters(settings: Settings) -> TradingParameters:
    """The trading parameters of the settings ``paper_capital``, ``paper_currency`` and ``trading_parameters``.

    Raises SettingsError in one clear line.
    """
    given = {"capital": settings.paper_capital, "currency": settings.paper_currency, **settings.trading_parameters}
    try:
        return TradingParameters.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise SettingsError(
            f"trading_parameters.{where}={problem['input']!r}: {problem['msg']}; "
            f"parameters are {', '.join(TradingParameters.model_fields)}"
        ) from None


def production_parameters(store: Store, settings: Settings) -> TradingParameters:
    """The parameters of production now: those of the settings, with what a person changed of single strategies.

    Raises StoreError, and SettingsError for wrong settings.
    """
    plain = settings_parameters(settings)
    own = dict(plain.by_strategy)
    for name, change in store.trading.shadow.in_force().items():
        if change.variation != CHAMPION and change.variation in VARIANTS:
            variant = VARIANTS[change.variation]
            declared = variant.parameters(plain)
            fields = sorted({*variant.sets, *variant.adds, *variant.scales})
            own[Strategy(name)] = {field: getattr(declared, field) for field in fields}
    return plain if own == plain.by_strategy else plain.changed({"by_strategy": own})


def account_parameters(store: Store, settings: Settings, account: AccountRow) -> TradingParameters:
    """The parameters of production now, with what the account began with: capital and currency stay.

    Raises StoreError, and SettingsError for wrong settings.
    """
    parameters = production_parameters(store, settings)
    began = {"capital": account.capital, "currency": account.currency}
    same = (parameters.capital, parameters.currency) == (account.capital, account.currency)
    return parameters if same else parameters.changed(began)
