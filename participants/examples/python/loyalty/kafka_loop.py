"""Commands over Kafka: poll, execute, answer, and only then commit the offsets."""

import threading
import time

import psycopg
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from google.protobuf.message import DecodeError
from skald.participant.v1.message_pb2 import Command

from . import NAME
from .participant import Malformed, execute, log

# Messages of one round at most.
ROUND = 500


class Loop:
    def __init__(self, servers: str, prefix: str, postgres: str):
        self.commands, self.outcomes = (f"{prefix}skald.{NAME}.{end}" for end in ("commands", "outcomes"))
        self.servers, self.group, self.postgres = servers, f"{prefix}skald.{NAME}", postgres
        # Waits for the broker as long as it takes: what was decided must be said.
        self.producer = Producer(
            {"bootstrap.servers": servers, "enable.idempotence": True, "linger.ms": 0, "message.timeout.ms": 0}
        )

    def create_topics(self, partitions: int) -> None:
        admin = AdminClient({"bootstrap.servers": self.servers})
        wanted = {self.commands: partitions, self.outcomes: partitions, f"{self.commands}.dlq": 1}
        missing = wanted.keys() - admin.list_topics(timeout=30).topics.keys()
        for created in admin.create_topics([NewTopic(name, wanted[name], -1) for name in missing]).values() if missing else ():
            created.result()

    def run(self, stop: threading.Event) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self.servers,
                "group.id": self.group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": 6000,
            }
        )
        consumer.subscribe([self.commands])
        log.info("Kafka at %s, %s", self.servers, self.commands)
        try:
            self.rounds(consumer, stop)
        finally:
            # Also when something unforeseen ended it: a process that reads nothing must not look alive.
            stop.set()
            consumer.close()

    def rounds(self, consumer: Consumer, stop: threading.Event) -> None:
        conn = None
        while not stop.is_set():
            first = consumer.poll(0.2)
            if first is None:
                continue
            messages = [m for m in [first, *consumer.consume(ROUND - 1, 0)] if not m.error()]
            for message in messages:
                conn = self.handle(conn, message)
            # Every answer is at the broker before any offset is committed: killed here, the commands come again and are
            # answered from the barrier.
            self.producer.flush()
            commit(consumer, messages)

    def handle(self, conn: psycopg.Connection | None, message: Message) -> psycopg.Connection | None:
        """Answers one message, whatever it takes; returns the connection to go on with."""
        while True:
            try:
                if conn is None or conn.closed:
                    conn = psycopg.connect(self.postgres, autocommit=True)
                self.answer(message, execute(conn, decode(message)))
                return conn
            except (Malformed, psycopg.DataError) as error:
                self.bury(message, str(error))
                return conn
            except psycopg.OperationalError as error:
                log.warning("the database: %s; trying again", error)
                conn = None
                time.sleep(1)

    def answer(self, message: Message, outcome) -> None:
        headers = [("content-type", b"application/protobuf")]
        headers += [(name, value) for name, value in message.headers() or [] if name == "traceparent"]
        # Into the partition that the command came from: the worker that owns the saga reads it.
        self.producer.produce(
            self.outcomes, outcome.SerializeToString(), key=outcome.saga_id, partition=message.partition(), headers=headers
        )

    def bury(self, message: Message, reason: str) -> None:
        log.warning("offset %s of partition %s is a dead letter: %s", message.offset(), message.partition(), reason)
        headers = [
            *(message.headers() or []),
            ("skald-reason", reason[:1000].encode()),
            ("skald-attempts", b"1"),
            ("skald-origin-topic", message.topic().encode()),
            ("skald-origin-partition", str(message.partition()).encode()),
            ("skald-origin-offset", str(message.offset()).encode()),
        ]
        self.producer.produce(f"{self.commands}.dlq", message.value(), key=message.key(), headers=headers)


def decode(message: Message) -> Command:
    try:
        command = Command.FromString(message.value() or b"")
    except DecodeError as error:
        raise Malformed(f"undecodable: {error}") from error
    if message.key() != command.saga_id.encode():
        raise Malformed(f"the key {message.key()!r} is not the saga id")
    return command


def commit(consumer: Consumer, messages: list[Message]) -> None:
    last = {m.partition(): m for m in messages}.values()
    try:
        consumer.commit(offsets=[TopicPartition(m.topic(), m.partition(), m.offset() + 1) for m in last], asynchronous=False)
    except KafkaException as error:
        # A rebalance took the partition: who has it now gets the commands again, and answers from the barrier.
        log.info("offsets were not committed: %s", error)
