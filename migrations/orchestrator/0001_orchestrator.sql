-- Append-only: a definition never changes, a new version is a new row.
create table public.definition (
  id         integer generated always as identity primary key,
  name       text        not null,
  version    integer     not null,
  -- SHA-256 of the canonical encoding
  hash       bytea       not null unique check (octet_length(hash) = 32),
  body       bytea       not null,
  created_at timestamptz not null default now()
);
create index definition_name on public.definition (name, id);

create table public.saga (
  -- UUIDv7, minted from database time; the order's id
  id            uuid        not null,
  definition_id integer     not null,
  -- 1 running, 2 compensating, 3 completed, 4 compensated, 5 parked, 6 paused (core::status)
  status        smallint    not null,
  -- index into the definition's stages, from 1; 0 before the first
  stage         smallint    not null,
  version       integer     not null,
  -- of the state's encoding; a binary refuses one above its own
  format        smallint    not null,
  -- when any instance looks at it next; null = terminal
  wake_at       timestamptz,
  resends       smallint    not null default 0,
  -- the instance that wrote it last
  owner         uuid        not null,
  -- why no further input is taken; null = taken
  quarantine    text,
  customer_id   text        not null,
  reason        text,
  updated_at    timestamptz not null,
  state         bytea       not null,
  request       bytea       not null,
  traceparent   text,
  -- for psql at 3 a.m.; written only when the saga is slow or stopped
  detail        jsonb,
  primary key (id)
) partition by range (id);
create table public.saga_default partition of public.saga default with (fillfactor = 50);
-- also the set of active sagas
create index saga_wake_at on public.saga (wake_at) where wake_at is not null;
create index saga_customer on public.saga (customer_id, id);

create table public.history (
  saga_id uuid        not null,
  seq     integer     not null,
  at      timestamptz not null,
  -- which branch of the rules decided
  rules   smallint    not null,
  kind    smallint    not null,
  actor   text        not null,
  input   bytea       not null,
  digest  bigint      not null,
  primary key (saga_id, seq)
) partition by range (saga_id);
create table public.history_default partition of public.history default;

create table public.submission (
  client     text        not null,
  key        text        not null,
  -- SHA-256 of the validated request as we encode it
  digest     bytea       not null,
  saga_id    uuid        not null,
  created_at timestamptz not null default now(),
  primary key (client, key)
);
create index submission_created_at on public.submission (created_at);

-- The operators' inbox: what stands and needs a person.
create table public.attention (
  saga_id     uuid        not null,
  -- '' for the saga itself
  step        text        not null,
  -- PARKED, QUARANTINED, VOUCHED, DEAD_LETTER
  kind        text        not null,
  participant text,
  code        text        not null,
  message     text        not null,
  since       timestamptz not null,
  taken_by    text,
  note        text,
  primary key (saga_id, step, kind)
);
create index attention_group on public.attention (kind, step, participant, code);

create table public.operator_action (
  request_id text        primary key,
  saga_id    uuid,
  verb       text        not null,
  actor      text        not null,
  reason     text        not null,
  request    bytea       not null,
  answer     bytea,
  at         timestamptz not null default now()
);

create table public.participant (
  name       text        primary key,
  -- null = not frozen
  frozen_at  timestamptz,
  frozen_by  text,
  reason     text
);

create table public.dead_letter (
  id          bigint generated always as identity primary key,
  topic       text        not null,
  partition   integer     not null,
  kafka_offset bigint     not null,
  key         bytea,
  headers     jsonb       not null,
  payload     bytea       not null,
  reason      text        not null,
  saga_id     uuid,
  at          timestamptz not null default now(),
  state       text        not null default 'OPEN' check (state in ('OPEN', 'REDRIVEN', 'DISCARDED')),
  unique (topic, partition, kafka_offset)
);
create index dead_letter_saga on public.dead_letter (saga_id);
