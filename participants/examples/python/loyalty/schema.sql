-- Inbox, tombstone and stored outcome at once: whoever inserts a row first has decided. The same columns and letters as
-- Skald's own participants have (migrations/participant), without their weekly partitions.
create schema if not exists skald;
create table if not exists skald.barrier (
  saga_id uuid        not null,
  step    text        not null,
  epoch   integer     not null check (epoch > 0),
  -- R = RUN, U = UNDO
  verb    "char"      not null check (verb in ('R', 'U')),
  -- S succeeded (RUN) or undone (UNDO), R rejected, T sealed, F fenced, N nothing to undo
  verdict "char"      not null check (verdict in ('S', 'R', 'T', 'F', 'N')),
  -- the answer's message (Succeeded, Rejected, Undone), encoded; null where it has no content
  outcome bytea,
  at      timestamptz not null default now(),
  primary key (saga_id, step, epoch, verb)
);

-- The business.
create table if not exists member (
  customer_id text   primary key,
  points      bigint not null default 0
);

-- What an award gave: its undo takes back exactly that, whatever the command says.
create table if not exists award (
  saga_id     uuid    not null,
  step        text    not null,
  epoch       integer not null,
  customer_id text    not null references member,
  points      bigint  not null check (points >= 0),
  revoked     boolean not null default false,
  primary key (saga_id, step, epoch)
);
