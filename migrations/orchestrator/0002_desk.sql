-- The operator's desk. `attention.kind` may be SLOW from here on.
create index attention_since on public.attention (since, saga_id, step, kind);

-- The action that settled it.
alter table public.dead_letter add column request_id text;
create index dead_letter_open on public.dead_letter (id) where state = 'OPEN';

-- What operators do to many sagas, at a rate. Any instance carries a job on.
create table public.bulk_job (
  request_id text        primary key,
  state      text        not null check (state in ('RUNNING', 'PAUSED', 'ABORTED', 'DONE')),
  -- the StartBulkRequest
  request    bytea       not null,
  created_at timestamptz not null default now(),
  changed_at timestamptz not null default now()
);

-- Chosen when the job began, each with the version that it had then.
create table public.bulk_item (
  job     text    not null references public.bulk_job,
  saga_id uuid    not null,
  version integer not null,
  -- O open, D done, M it had moved on, R refused
  state   "char"  not null default 'O' check (state in ('O', 'D', 'M', 'R')),
  why     text,
  primary key (job, saga_id)
);
create index bulk_item_open on public.bulk_item (job, saga_id) where state = 'O';
