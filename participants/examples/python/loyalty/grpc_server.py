"""Commands over ParticipantService.Execute: a request's commands are answered in its response."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import psycopg
from skald.participant.v1 import participant_service_pb2 as wire
from skald.participant.v1 import participant_service_pb2_grpc as services

from . import NAME, business
from .participant import HORIZON_DAYS, PROTOCOL, Malformed, execute, log

# Streams at once: each has a thread and a connection of its own.
STREAMS = 32


class Participant(services.ParticipantServiceServicer):
    def __init__(self, postgres: str):
        self.postgres = postgres

    def Execute(self, requests, context):
        # Now, and not with the first answer: who connects may wait for it.
        context.send_initial_metadata(())
        try:
            with psycopg.connect(self.postgres, autocommit=True) as conn:
                for request in requests:
                    yield wire.ExecuteResponse(outcomes=list(outcomes(conn, request.commands)))
        except psycopg.OperationalError as error:
            # Nothing was decided; what has no answer is sent again.
            context.abort(grpc.StatusCode.UNAVAILABLE, f"the database: {error}")

    def Describe(self, request, context):
        actions = [wire.Action(name=name, undo=undo) for name, undo in business.ACTIONS.items()]
        return wire.DescribeResponse(
            participant=NAME, protocols=[PROTOCOL], actions=actions, horizon_days=HORIZON_DAYS, version="1"
        )


def outcomes(conn, commands):
    for command in commands:
        try:
            yield execute(conn, command)
        except (Malformed, psycopg.DataError) as error:
            log.warning("a command is not answered: %s", error)


def serve(address: str, postgres: str) -> grpc.Server:
    server = grpc.server(ThreadPoolExecutor(STREAMS), maximum_concurrent_rpcs=STREAMS)
    services.add_ParticipantServiceServicer_to_server(Participant(postgres), server)
    server.add_insecure_port(address)
    server.start()
    log.info("gRPC at %s", address)
    return server
