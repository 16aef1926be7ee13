"""The ledger in SQLite, see interfaces.Ledger: each part has its own tables and its own module in stores/ledger/."""

from tradebot_core.stores.ledger.arms import Arms
from tradebot_core.stores.ledger.breaks import Breaks
from tradebot_core.stores.ledger.decisions import Decisions
from tradebot_core.stores.ledger.entries import Entries
from tradebot_core.stores.ledger.external import External
from tradebot_core.stores.ledger.fills import Fills
from tradebot_core.stores.ledger.marks import Marks
from tradebot_core.stores.ledger.orders import Orders
from tradebot_core.stores.ledger.permits import Permits
from tradebot_core.stores.ledger.switch import Switch


class SqliteLedger(Permits, Decisions, Orders, Fills, Entries, Marks, Switch, Arms, External, Breaks):
    """One file; the bases bring the tables and the calls of one idea each."""
