"""Optuna's database: opened, and asked again while it does not answer."""

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError

from cnn.config.config import ConfigError
from cnn.system import redaction

DATABASE = "study.db"
LONGEST_SECONDS = 600
"""A database may be away for so long before the sweep ends, to be continued."""
FIRST_WAIT, LONGEST_WAIT = 0.2, 10.0


class Away(OSError):
    """The database does not answer; what the trials saved stays, and the same command continues."""


Answer = TypeVar("Answer")


def connect(url: str, folder: Path) -> optuna.storages.RDBStorage:
    """Returns the storage at a URL, SQLite in the sweep's folder where there is none.

    Raises:
      ConfigError: the URL is none, or its driver is not installed.
      OSError: the database does not answer.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    _check(url)
    embedded = f"sqlite:///{(folder / DATABASE).absolute()}"
    try:
        # Waits for other writers; a connection that a restarted server forgot is replaced.
        waiting = {"connect_args": {"timeout": 60}} if not url else {}
        return optuna.storages.RDBStorage(url or embedded, engine_kwargs={"pool_pre_ping": True, **waiting})
    except ImportError as error:
        if "psycopg" in str(error) or "psycopg" in url:
            raise ConfigError(["--storage: needs a driver. Run: pip install 'psycopg[binary]'"]) from None
        raise ConfigError([f"--storage: its driver cannot be imported: {redaction.hide(str(error))}"]) from None
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise ConfigError(["--storage: is no database URL. Write postgresql+psycopg://USER@HOST/NAME"]) from None
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError) as error:
        # SQLAlchemy shows no password, but the driver's first line suffices.
        raise OSError(f"--storage: the database does not answer: {_reason(error)}") from None


def _check(url: str) -> None:
    """Warns of a password in the URL; refuses one that the driver would take for a part of the host, and show."""
    if redaction.hide(url) != url:
        print(redaction.HINT, file=sys.stderr)
    host = None
    with contextlib.suppress(sqlalchemy.exc.ArgumentError, ValueError):
        host = sqlalchemy.make_url(url).host
    if "@" in (host or ""):
        raise ConfigError(["--storage: an @ in the user or the password ends it. Write %40 for it"])


def asking(question: Callable[[], Answer], line: Callable[[str], None], stop: Callable[[], bool]) -> Answer:
    """Returns the answer of a database, asked again for up to ten minutes while it is away.

    Args:
      question: may be asked again, whether or not it was heard.
      line: shows a line to the person.
      stop: ends the waiting early.

    Raises:
      Away: the database was away for too long, or `stop` said so.
    """
    wait, deadline = FIRST_WAIT, time.monotonic() + LONGEST_SECONDS
    told = False
    while True:
        try:
            answer = question()
        except (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError, StorageInternalError) as error:
            reason = _reason(error)
        else:
            if told:
                line("the database answers again")
            return answer
        if stop() or time.monotonic() > deadline:
            waited = f" for {LONGEST_SECONDS / 60:g} minutes" if not stop() else ""
            raise Away(f"the database did not answer{waited}: {reason}")
        if not told:
            line(f"the database does not answer ({reason}); asking again for {LONGEST_SECONDS // 60} minutes")
        told = True
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)


def _reason(error: Any) -> str:
    cause = getattr(error, "orig", None) or error.__cause__ or error
    return redaction.hide(" ".join(str(cause).split()))[:200]
