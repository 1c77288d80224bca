"""Every error that sqlqueue raises on purpose, in one tree.

Each class says what it is on the wire (`code`), what a command exits with because
of it (`exit_status`), and whether asking again may help (`retryable`).  The docstring
is the message when none is given.  What is not here: errors of the operating system
and of libraries, which are wrapped where they are understood.
"""

from __future__ import annotations

from typing import ClassVar

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class QueueError(Exception):
    """Something went wrong in sqlqueue."""

    code: ClassVar[str] = "error"
    exit_status: ClassVar[int] = EXIT_FAILED
    retryable: ClassVar[bool] = False

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())

    @property
    def message(self) -> str:
        return str(self.args[0])


# --- what a person typed or wrote in a file ---------------------------------------


class UsageError(QueueError):
    """The command line or a file given is wrong."""

    code = "usage"
    exit_status = EXIT_USAGE


class SweepError(UsageError):
    """A sweep file is wrong; the message lists every place, one per line."""

    code = "bad_sweep"


class ExperimentError(UsageError):
    """An experiment cannot be found or does not declare its parameters."""

    code = "bad_experiment"


class HomeError(UsageError):
    """The home folder is missing, foreign or unsafe."""

    code = "bad_home"


class DirectoryError(UsageError):
    """An output directory cannot be used: foreign, not writable, or of another queue."""

    code = "bad_directory"


class DatabaseError(UsageError):
    """queue.db cannot be used: foreign, damaged, or newer than this sqlqueue."""

    code = "bad_database"


class Interrupted(QueueError):
    """Stopped by Ctrl-C."""

    code = "interrupted"
    exit_status = EXIT_INTERRUPTED


# --- what a peer said ---------------------------------------------------------------


class ProtocolError(QueueError):
    """The message is not one of the protocol's."""

    code = "bad_message"


class MessageTooLarge(ProtocolError):
    """The message is longer than the protocol allows."""

    code = "too_large"


class NotAuthorised(QueueError):
    """This connection may not do that."""

    code = "not_authorised"


class UnknownTask(QueueError):
    """No task has that id."""

    code = "unknown_task"
    exit_status = EXIT_USAGE


class IllegalMove(QueueError):
    """The task cannot do that from the state it is in."""

    code = "illegal_move"


# --- what may pass --------------------------------------------------------------------


class Retryable(QueueError):
    """Not now; ask again."""

    code = "retry"
    retryable = True


class DirectoryUnavailable(Retryable):
    """An output directory cannot be written just now; the result was not stored."""

    code = "directory_unavailable"


class StorageFailure(Retryable):
    """The database could not commit; whether it did is unknown until it was reopened."""

    code = "storage_failure"


class DatabaseDamaged(StorageFailure):
    """queue.db is damaged: this manager cannot go on; what was not acked is kept by workers."""

    code = "database_damaged"


class LockLost(StorageFailure):
    """The home's lock does not hold any more: this manager stops; nothing was stored."""

    code = "lock_lost"


class ManagerStopping(Retryable):
    """The manager is stopping; nothing was stored."""

    code = "stopping"


class EpochLost(Retryable):
    """A newer manager has taken this home over: connect anew; this one writes nothing any more."""

    code = "epoch_lost"


class ManagerUnreachable(Retryable):
    """No manager answers."""

    code = "unreachable"


class ManagerRunning(QueueError):
    """Another manager owns this home."""

    code = "manager_running"


def from_wire(code: str, message: str, retryable: bool) -> QueueError:
    """The error that a manager's reply means; an unknown code keeps its retryability."""
    waiting: list[type[QueueError]] = [QueueError]
    while waiting:
        kind = waiting.pop()
        if kind.__dict__.get("code") == code:
            return kind(message)
        waiting += kind.__subclasses__()
    return Retryable(message) if retryable else QueueError(message)
