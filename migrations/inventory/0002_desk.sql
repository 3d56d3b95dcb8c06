-- Besides goods that come and go, corrections after a count; and the first answer, for repeats.
alter table public.restock
  add column adjusts boolean not null default false,
  -- stocked, available, reserved, committed, version right after it; null in rows from before
  add column answer  bigint[];
