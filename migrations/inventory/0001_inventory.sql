create table public.stock (
  sku       text   primary key,
  stocked   bigint not null check (stocked >= 0),
  available bigint not null check (available >= 0),
  reserved  bigint not null check (reserved >= 0),
  committed bigint not null check (committed >= 0),
  -- rises with each change
  version   bigint not null,
  constraint stock_adds_up check (available + reserved + committed = stocked)
) with (fillfactor = 50);

create table public.reservation (
  saga_id    uuid        not null,
  step       text        not null,
  epoch      integer     not null,
  -- H held, C committed, L let go
  state      "char"      not null check (state in ('H', 'C', 'L')),
  skus       text[]      not null,
  quantities bigint[]    not null,
  held_at    timestamptz not null default now(),
  ended_at   timestamptz,
  primary key (saga_id, step, epoch),
  constraint reservation_lines check (cardinality(skus) = cardinality(quantities))
) with (fillfactor = 70);

create table public.restock (
  request_id text        primary key,
  sku        text        not null,
  delta      bigint      not null,
  actor      text        not null,
  reason     text        not null,
  at         timestamptz not null default now()
);
