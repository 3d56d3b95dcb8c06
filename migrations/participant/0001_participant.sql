-- What every participant keeps beside its own tables. Schema skald; its own migration table.
create schema if not exists skald;

-- Inbox, tombstone and stored outcome at once: whoever inserts a row first has decided.
-- Partitioned by the week in the saga's UUIDv7. There is no DEFAULT partition on purpose: a command
-- older than the oldest partition can't be remembered, so it is refused.
create table skald.barrier (
  saga_id uuid     not null,
  step    text     not null,
  epoch   integer  not null check (epoch > 0),
  -- R = RUN, U = UNDO
  verb    "char"   not null check (verb in ('R', 'U')),
  -- S succeeded (RUN) or undone (UNDO), R rejected, T sealed, F fenced, N nothing to undo,
  -- I intent: an outside effect is under way
  verdict "char"   not null check (verdict in ('S', 'R', 'T', 'F', 'N', 'I')),
  -- the answer's message (Succeeded, Rejected, Undone), encoded; null where it has no content
  outcome bytea,
  at      timestamptz not null default now(),
  primary key (saga_id, step, epoch, verb)
) partition by range (saga_id);

-- Open calls to the outside world, and nothing else: a row goes when its barrier row settles.
create table skald.intent (
  saga_id     uuid        not null,
  step        text        not null,
  epoch       integer     not null,
  verb        "char"      not null check (verb in ('R', 'U')),
  -- the attempt that the answer will count for
  attempt     integer     not null,
  -- the idempotency key of the calls that are under way or come next
  gateway_key text        not null,
  -- when that key was written down, before anything was sent with it: never younger than the gateway thinks
  key_at      timestamptz not null default now(),
  -- the sweeper takes it up from here on; infinity: it sleeps until a command wakes it
  call_after  timestamptz not null,
  -- calls that were begun with that key and may have arrived
  calls       integer     not null default 0 check (calls >= 0),
  -- the failure that was answered last, for which it sleeps; null while it is worked on
  answered    text,
  -- the instance that works on it, and W3C trace context of the command
  owner       uuid        not null,
  traceparent text,
  -- the partition that the command came from: the answer goes there
  partition   integer     not null,
  primary key (saga_id, step, epoch, verb)
) with (fillfactor = 50);
create index intent_call_after on skald.intent (call_after);
