"""The error tree. Each branch says who must act.

TradebotError
├── ConfigurationError      the operator: a setting or an argument is wrong; nothing has started        (exit 2)
│   └── UsageError          the caller: a holiday, an empty range, an unknown name                       (exit 2)
├── DataError               skip this security or record, say so, go on with the rest                    (exit 1)
│   ├── CorruptInput        the source cannot be read at all (truncated, not JSON, a web page)
│   └── MissingData         the store does not hold what the question needs
├── StoreError              the store cannot be read or written: disk full, locked, of a newer version   (exit 1)
├── StrategyError           a strategy raised or broke its contract; the others go on                    (exit 1)
├── ExecutionError          stop trading and look                                                        (exit 1)
│   ├── NotPermitted        no live permit: this code path may not reach an engine
│   └── OrderUnknown        the broker's answer never came; ask it before anything else
└── ReconciliationError     stop and call a person: broker and ledger disagree                           (exit 1)
"""


class TradebotError(Exception):
    """A failure with its cause and the action that mends it."""

    exit_code = 1

    def __init__(self, cause: str, mend: str = "") -> None:
        super().__init__(f"{cause} {mend}".strip())
        self.cause = cause
        self.mend = mend


class ConfigurationError(TradebotError):
    exit_code = 2


class UsageError(ConfigurationError):
    pass


class DataError(TradebotError):
    pass


class CorruptInput(DataError):
    pass


class MissingData(DataError):
    pass


class StoreError(TradebotError):
    pass


class StrategyError(TradebotError):
    pass


class ExecutionError(TradebotError):
    pass


class NotPermitted(ExecutionError):
    pass


class OrderUnknown(ExecutionError):
    pass


class ReconciliationError(TradebotError):
    pass
