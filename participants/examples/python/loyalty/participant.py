"""The protocol: what makes the business a participant. One function, `execute`: a command in, an outcome out."""

import logging
import re
import uuid
from dataclasses import dataclass

import psycopg
from psycopg import Connection
from skald.participant.v1.message_pb2 import (
    Command,
    Failed,
    Fenced,
    NothingToUndo,
    Outcome,
    Rejected,
    Sealed,
    Succeeded,
    Undone,
    Verb,
)

from . import NAME, business

PROTOCOL = 1
DAY_MS = 24 * 3600 * 1000
# Commands for older sagas are refused: what was decided about them may be forgotten.
HORIZON_DAYS = 45

RUN, UNDO, SEAL_RUN, SEAL_UNDO = Verb.VERB_RUN, Verb.VERB_UNDO, Verb.VERB_SEAL_RUN, Verb.VERB_SEAL_UNDO
# A field of `Outcome` and the message in it.
Answer = tuple[str, Succeeded | Rejected | Sealed | Undone | NothingToUndo | Fenced | Failed]

log = logging.getLogger(NAME)


class Malformed(Exception):
    """It can't be understood: a dead letter."""


@dataclass
class Row:
    """A row of the barrier: the verdict about RUN ('R') or about UNDO ('U')."""

    verb: str
    verdict: str
    outcome: bytes | None = None

    def answer(self) -> Answer:
        content = self.outcome or b""
        match self.verb, self.verdict:
            case "R", "S":
                return "succeeded", Succeeded.FromString(content)
            case "R", "R":
                return "rejected", Rejected.FromString(content)
            case "R", "T":
                return "sealed", Sealed()
            case "U", "S":
                return "undone", Undone.FromString(content)
            case "U", "N":
                return "nothing_to_undo", NothingToUndo()
            case "U", "F":
                return "fenced", Fenced()
        raise ValueError(f"a row {self.verb}{self.verdict} can't be")


SEALED, NOTHING, FENCED = Row("R", "T"), Row("U", "N"), Row("U", "F")


def decide(verb: int, run: Row | None, undo: Row | None) -> Row | list[Row] | None:
    """What a command comes to, given what the barrier remembers: a row to repeat, rows to write, or None: ask the business."""
    if verb in (RUN, SEAL_RUN) and run:
        return run
    if verb in (UNDO, SEAL_UNDO) and undo:
        return undo
    if verb == SEAL_RUN:
        return [SEALED]
    # From here on the action never runs, if it did not yet.
    if verb == UNDO and run is None:
        return [SEALED, NOTHING]
    if verb == UNDO and run.verdict != "S":
        return [NOTHING]
    if verb == SEAL_UNDO:
        return [FENCED] if run else [SEALED, FENCED]
    return None


def execute(conn: Connection, command: Command) -> Outcome:
    """Does what a command asks, at most once however often it comes, and tells what came of it.

    Raises Malformed, or psycopg.OperationalError when the database is away: then nothing was decided.
    """
    saga = check(command)
    answer = None
    while answer is None:
        try:
            with conn.transaction() as transaction:
                answer = attempt(conn, command, saga)
                if answer is None:
                    # someone else was first: look again at what was decided
                    raise psycopg.Rollback(transaction)
        except business.Failed as failed:
            answer = failure(failed.code, failed.message, failed.retryable)
    outcome = Outcome(
        protocol=PROTOCOL,
        saga_id=command.saga_id,
        step=command.step,
        verb=command.verb,
        epoch=command.epoch,
        attempt=command.attempt,
        participant=NAME,
    )
    field, content = answer
    getattr(outcome, field).CopyFrom(content)
    # a message without content would not be there
    getattr(outcome, field).SetInParent()
    return outcome


def attempt(conn: Connection, command: Command, saga: uuid.UUID) -> Answer | None:
    """One try in one transaction; None: someone else was first."""
    refused = out_of_bounds(conn, command, saga)
    if refused:
        return refused
    key = [command.saga_id, command.step, command.epoch]
    # This may be stale a moment later, which is harmless: inserting decides.
    rows = conn.execute(
        "select verb::text, verdict::text, outcome from skald.barrier where (saga_id, step, epoch) = (%s, %s, %s)", key
    ).fetchall()
    remembered = {verb: Row(verb, verdict, outcome) for verb, verdict, outcome in rows}
    decided = decide(command.verb, remembered.get("R"), remembered.get("U"))
    if isinstance(decided, Row):
        return decided.answer()
    if not knows(command):
        return failure("UNIMPLEMENTED", f"{command.action!r} can't be asked of this version", retryable=True)
    write = lambda: None  # noqa: E731
    if decided is None:
        content, write = (business.run if command.verb == RUN else business.undo)(conn, command)
        verdict = "R" if isinstance(content, Rejected) else "S"
        decided = [Row("R" if command.verb == RUN else "U", verdict, content.SerializeToString())]
    for row in decided:
        inserted = conn.execute(
            "insert into skald.barrier (saga_id, step, epoch, verb, verdict, outcome) values (%s, %s, %s, %s, %s, %s) "
            "on conflict do nothing",
            [*key, row.verb, row.verdict, row.outcome],
        )
        if inserted.rowcount == 0:
            return None
    write()
    return decided[-1].answer()


def out_of_bounds(conn: Connection, command: Command, saga: uuid.UUID) -> Answer | None:
    if command.protocol > PROTOCOL:
        return failure("UNIMPLEMENTED", f"protocol {command.protocol} is not understood here", retryable=True)
    # The database's clock, so that all instances agree.
    (now_ms,) = conn.execute("select (extract(epoch from now()) * 1000)::bigint").fetchone()
    born_ms = saga.int >> 80
    if born_ms < now_ms - HORIZON_DAYS * DAY_MS:
        return failure("TOO_OLD", "the saga is older than what is remembered", retryable=False)
    if born_ms > now_ms + DAY_MS:
        return failure("FROM_THE_FUTURE", "the saga's id is from the future", retryable=True)
    return None


def forget(conn: Connection) -> None:
    """Drops what is beyond the horizon, with a day to spare. A row is never older than its saga, so its saga is too old, too."""
    conn.execute("delete from skald.barrier where at < now() - make_interval(days => %s)", [HORIZON_DAYS + 1])


def check(command: Command) -> uuid.UUID:
    """The saga's id, when everything that the protocol needs is there."""
    try:
        saga = uuid.UUID(command.saga_id)
    except ValueError:
        saga = None
    # canonical text only: it is also the message's key
    if saga is None or saga.version != 7 or str(saga) != command.saga_id:
        raise Malformed(f"saga_id is no UUIDv7: {command.saga_id[:64]!r}")
    if command.verb not in (RUN, UNDO, SEAL_RUN, SEAL_UNDO):
        raise Malformed("verb is not known")
    if not re.fullmatch(r"[a-z0-9_-]{1,64}", command.step):
        raise Malformed("step must be 1 to 64 characters of [a-z0-9_-]")
    if not 1 <= command.epoch < 2**31 or not 1 <= command.attempt < 2**31:
        raise Malformed("epoch and attempt must be 1 to 2147483647")
    return saga


def knows(command: Command) -> bool:
    names = business.ACTIONS.keys() if command.verb in (RUN, SEAL_RUN) else business.ACTIONS.values()
    return command.action in names


def failure(code: str, message: str, retryable: bool) -> Answer:
    return "failed", Failed(code=code, message=message, retryable=retryable)
