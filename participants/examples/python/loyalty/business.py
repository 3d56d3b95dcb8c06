"""The business: points. Knows no transport and no barrier.

An action decides first, under the locks that it takes, and writes afterwards: between the two its caller stores the answer,
and writes only when nobody else was first. So each function returns the answer and what to do when it counts.
"""

from collections.abc import Callable

from google.protobuf.any_pb2 import Any
from google.protobuf.wrappers_pb2 import Int64Value
from psycopg import Connection
from skald.order.v1.order_pb2 import OrderInput
from skald.participant.v1.message_pb2 import Command, Rejected, Succeeded, Undone

# What RUN names, and what UNDO names for it.
ACTIONS = {"award": "revoke"}

Write = Callable[[], None]


class Failed(Exception):
    """It could not be done this time. Never stored: the orchestrator tries again when it is retryable, or asks a person."""

    def __init__(self, code: str, message: str, retryable: bool):
        super().__init__(message)
        self.code, self.message, self.retryable = code, message, retryable


def run(conn: Connection, command: Command) -> tuple[Succeeded | Rejected, Write]:
    """Gives a member one point for each whole unit of the order's total."""
    order = OrderInput()
    if not command.input.Unpack(order):
        raise Failed("BAD_INPUT", f"the input is {command.input.type_url!r}, not an order", retryable=False)
    member = conn.execute("select points from member where customer_id = %s for update", [order.customer_id]).fetchone()
    if member is None:
        return Rejected(code="NOT_A_MEMBER", message=f"{order.customer_id!r} is no member"), lambda: None
    points = order.total_minor // 100

    def write():
        conn.execute("update member set points = points + %s where customer_id = %s", [points, order.customer_id])
        conn.execute(
            "insert into award (saga_id, step, epoch, customer_id, points) values (%s, %s, %s, %s, %s)",
            [command.saga_id, command.step, command.epoch, order.customer_id, points],
        )

    return Succeeded(result=packed(points)), write


def undo(conn: Connection, command: Command) -> tuple[Undone, Write]:
    """Takes back what the award gave. It did give: the barrier says so."""
    key = [command.saga_id, command.step, command.epoch]
    found = conn.execute(
        "select customer_id, points from award where (saga_id, step, epoch) = (%s, %s, %s) for update", key
    ).fetchone()
    if found is None:
        raise Failed("INCONSISTENT", "the award is not there, though it succeeded", retryable=False)
    customer, points = found

    def write():
        conn.execute("update member set points = points - %s where customer_id = %s", [points, customer])
        conn.execute("update award set revoked = true where (saga_id, step, epoch) = (%s, %s, %s)", key)

    return Undone(result=packed(points)), write


def packed(points: int) -> Any:
    result = Any()
    result.Pack(Int64Value(value=points))
    return result
