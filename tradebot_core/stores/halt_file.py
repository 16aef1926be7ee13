"""The kill switch as a file beside the ledger: it can be thrown when the ledger is damaged, locked or of another version.

That the file is there is the halt; what it says is only its reason. So a file that cannot be read, or says nothing, halts too.
"""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tradebot_core.errors import StoreError

NAME = "HALT"


@dataclass(frozen=True)
class HaltFile:
    """Of the store in `folder`. {"reason": text, "at": ISO instant, "by": who}."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / NAME

    def reason(self) -> str | None:
        """Why trading is halted, or None. Raises nothing: what cannot be found out is a halt."""
        try:
            self.path.lstat()
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"whether there is a file {self.path} cannot be seen ({error.strerror})"
        try:
            said = json.loads(self.path.read_bytes())
            reason = said["reason"]
            if isinstance(reason, str) and reason.strip():
                return reason
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            pass
        return f"the file {self.path} is there and its reason cannot be read"

    def write(self, reason: str, at: datetime, by: str) -> None:
        """Halts. On the disk (file and folder) when it returns. Raises StoreError; trading may be halted even then."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # First its name, which is enough: on a full disk the words may find no place.
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o644))
            self._sync_folder()
            fresh = self.path.with_name(f"{NAME}.{os.getpid()}.new")
            try:
                with fresh.open("w", encoding="utf-8") as file:
                    json.dump({"reason": reason, "at": at.isoformat(), "by": by}, file)
                    file.flush()
                    os.fsync(file.fileno())
                fresh.replace(self.path)
            except OSError:
                with suppress(OSError):  # the failure to write is what is told
                    fresh.unlink()
                raise
            self._sync_folder()
        except OSError as error:
            raise StoreError(
                f"The file {self.path} cannot be written ({error.strerror}).",
                "Check the disk and the rights of its folder. An empty file of that name halts as well.",
            ) from error

    def remove(self) -> None:
        """Raises StoreError when it cannot be removed: trading stays halted."""
        try:
            self.path.unlink(missing_ok=True)
            self._sync_folder()
        except OSError as error:
            raise StoreError(
                f"The file {self.path} cannot be removed ({error.strerror}), so trading stays halted.", "Remove it by hand."
            ) from error

    def _sync_folder(self) -> None:
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
