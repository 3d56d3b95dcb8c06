-- What named persons settled, by the id of the request.
create table public.settlement (
  request_id text        primary key,
  saga_id    uuid        not null,
  step       text        not null,
  epoch      integer     not null,
  -- R the charge, U the refund
  verb       "char"      not null check (verb in ('R', 'U')),
  -- the gateway's; null: it did not happen
  reference  text,
  actor      text        not null,
  reason     text        not null,
  -- the answer's skald.payment.v1.Charge, encoded; written by the transaction that makes the row
  answer     bytea,
  at         timestamptz not null default now()
);

-- The gateway's records by time.
create index movement_at on gateway.movement (at, reference);
