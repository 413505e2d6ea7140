"""The one error tree of Interlock.

    InterlockError
    |-- InputError              the caller's input is wrong
    |   |-- ConfigurationError  a setting, file or registration is wrong
    |   |-- PolicyError         a policy set does not parse or validate
    |   |-- NotFound            no such case, item, actor, tool or workflow
    |   `-- Conflict            same name or key, other content
    |-- GovernanceError         a rule of the plane said no
    |   |-- Denied              a policy, limit, switch or check forbids the call
    |   |-- Rejected            a person said no
    |   |-- ApprovalNeeded      a person has to be asked first
    |   |-- NotAuthorized       this person may not decide this
    |   |-- AlreadyDecided      the item has its decision
    |   `-- Expired             the item's deadline has passed
    |-- ToolFailed              the tool ran, or could not run, and failed
    |   `-- Unreachable         the system behind it does not answer
    |-- UnknownOutcome          nobody knows whether the effect happened
    |-- AgentFailed             an agent gave no acceptable result
    |   |-- BudgetExceeded      tokens, money, steps or seconds ran out
    |   `-- OutputInvalid       the result does not fit the task's schema
    `-- StorageError            the database could not take or give data
        |-- DatabaseLocked      another engine holds it
        |-- DatabaseCorrupt     its content cannot be read
        |-- DiskFull            no room, or no permission, to write
        `-- Stale               the claim is no longer valid (epoch, poison)

Every error says what happened (`message`), what to do (`hint`) and a stable `code`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from interlock.ids import Reason

__all__ = [
    "AgentFailed",
    "AlreadyDecided",
    "ApprovalNeeded",
    "BudgetExceeded",
    "ConfigurationError",
    "Conflict",
    "DatabaseCorrupt",
    "DatabaseLocked",
    "Denied",
    "DiskFull",
    "Expired",
    "GovernanceError",
    "InputError",
    "InterlockError",
    "NotAuthorized",
    "NotFound",
    "OutputInvalid",
    "PolicyError",
    "Rejected",
    "Stale",
    "StorageError",
    "ToolFailed",
    "UnknownOutcome",
    "Unreachable",
]


class InterlockError(Exception):
    """Root of the tree. `code` is stable, `hint` says what to do.

    In a list of started cases it stands for a start that was refused: `status` is "failed", as of a case.
    """

    code: ClassVar[str] = "interlock"
    status: ClassVar[str] = "failed"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def error(self) -> dict[str, str]:
        """Code, message and hint, as interfaces show them."""
        return {"code": self.code, "message": self.message, "hint": self.hint}

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class InputError(InterlockError):
    code = "input"


class ConfigurationError(InputError):
    code = "configuration"


class PolicyError(InputError):
    code = "policy"


class NotFound(InputError):
    code = "not_found"


class Conflict(InputError):
    code = "conflict"


class GovernanceError(InterlockError):
    code = "governance"


class Denied(GovernanceError):
    """`.reasons` are `Reason(policy, text)`; `.policy_ids` the ids among them."""

    code = "denied"

    def __init__(self, message: str, hint: str = "", *, reasons: Sequence[Reason] = ()) -> None:
        super().__init__(message, hint)
        self.reasons = list(reasons)
        self.policy_ids = [r.policy for r in reasons]


class Rejected(GovernanceError):
    code = "rejected"

    def __init__(self, message: str, hint: str = "", *, by: str = "", why: str = "") -> None:
        super().__init__(message, hint)
        self.by = by
        self.why = why


class ApprovalNeeded(GovernanceError):
    """`.approval` is the id of the inbox item that waits for a person."""

    code = "approval_needed"

    def __init__(self, message: str, hint: str = "", *, approval: str = "") -> None:
        super().__init__(message, hint)
        self.approval = approval


class NotAuthorized(GovernanceError):
    code = "not_authorized"


class AlreadyDecided(GovernanceError):
    code = "already_decided"


class Expired(GovernanceError):
    code = "expired"


class ToolFailed(InterlockError):
    code = "tool_failed"


class Unreachable(ToolFailed):
    code = "unreachable"


class UnknownOutcome(InterlockError):
    """`.item` is the inbox item in which a person says what happened."""

    code = "unknown_outcome"

    def __init__(self, message: str, hint: str = "", *, item: str = "") -> None:
        super().__init__(message, hint)
        self.item = item


class AgentFailed(InterlockError):
    """`.found` holds what the agent had found when it stopped."""

    code = "agent_failed"

    def __init__(self, message: str, hint: str = "", *, found: Any = None) -> None:
        super().__init__(message, hint)
        self.found = found


class BudgetExceeded(AgentFailed):
    code = "budget"


class OutputInvalid(AgentFailed):
    code = "output"


class StorageError(InterlockError):
    code = "storage"


class DatabaseLocked(StorageError):
    code = "locked"


class DatabaseCorrupt(StorageError):
    code = "corrupt"


class DiskFull(StorageError):
    code = "disk_full"


class Stale(StorageError):
    code = "stale"
