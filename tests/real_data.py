"""Where real filings, bars and reports are, which no test needs to pass: without them those that look at them are skipped."""

import os
from pathlib import Path

REAL_DATA = Path(os.environ.get("TRADEBOT_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
