-- Definitions of which no new saga is taken, until somebody thaws them. By name: every version.
create table public.definition_freeze (
  name       text        primary key,
  frozen_at  timestamptz not null,
  frozen_by  text        not null,
  reason     text        not null
);

-- An action that was refused is kept with what the caller was told: null = it was done.
alter table public.operator_action
  -- of google.rpc.Code
  add column refused_code integer,
  add column refused text,
  -- google.rpc.Status, encoded
  add column refused_details bytea;
