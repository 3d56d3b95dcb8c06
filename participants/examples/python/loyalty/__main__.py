"""python -m loyalty --postgres URL [--grpc HOST:PORT] [--kafka HOST:PORT]"""

import argparse
import logging
import signal
import threading
from importlib.resources import files

import psycopg

from . import grpc_server
from .kafka_loop import Loop
from .participant import forget

DAY = 24 * 3600


def main() -> None:
    args = arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    with psycopg.connect(args.postgres, autocommit=True) as conn:
        # One instance at a time makes the tables.
        with conn.transaction():
            conn.execute("select pg_advisory_xact_lock(hashtext('loyalty schema'))")
            conn.execute(files(__package__).joinpath("schema.sql").read_text())
    threads = [threading.Thread(target=tidy, args=(args.postgres, stop))]
    if args.kafka:
        loop = Loop(args.kafka, args.topic_prefix, args.postgres)
        loop.create_topics(args.partitions)
        threads.append(threading.Thread(target=loop.run, args=(stop,)))
    for thread in threads:
        thread.start()
    server = grpc_server.serve(args.grpc, args.postgres) if args.grpc else None
    stop.wait()
    if server:
        server.stop(grace=5).wait()
    for thread in threads:
        thread.join()


def tidy(postgres: str, stop: threading.Event) -> None:
    """Once a day."""
    while True:
        try:
            with psycopg.connect(postgres, autocommit=True) as conn:
                forget(conn)
        except psycopg.OperationalError as error:
            logging.warning("the database: %s", error)
        if stop.wait(DAY):
            return


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loyalty")
    parser.add_argument("--postgres", required=True, metavar="URL")
    parser.add_argument("--grpc", metavar="HOST:PORT", help="serve ParticipantService here")
    parser.add_argument("--kafka", metavar="HOST:PORT", help="read commands from topics of these brokers")
    parser.add_argument("--topic-prefix", default="", metavar="TEXT")
    parser.add_argument("--partitions", type=int, default=4, help="of topics that are missing; as the orchestrator's")
    return parser.parse_args()


if __name__ == "__main__":
    main()
