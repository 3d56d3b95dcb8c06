create table public.charge (
  saga_id      uuid        not null,
  step         text        not null,
  epoch        integer     not null,
  amount_minor bigint      not null check (amount_minor > 0),
  currency     char(3)     not null,
  customer_id  text        not null,
  method_token text        not null,
  -- I intent, C captured, D declined, V void (sealed before any call), R refunded, U unresolved
  state        "char"      not null check (state in ('I', 'C', 'D', 'V', 'R', 'U')),
  gateway_ref  text,
  refund_ref   text,
  intent_at    timestamptz not null default now(),
  settled_at   timestamptz,
  refunded_at  timestamptz,
  primary key (saga_id, step, epoch),
  constraint charge_refunded_once check ((state = 'R') = (refund_ref is not null))
) with (fillfactor = 50);

-- The simulated gateway's own books. No table of payment refers to them, as if it were another company.
create schema gateway;

-- Each call that arrived, in order.
create table gateway.call (
  id       bigint generated always as identity primary key,
  at       timestamptz not null default now(),
  kind     text        not null check (kind in ('charge', 'refund', 'find')),
  key      text        not null,
  our_ref  text        not null,
  answer   text        not null
);

-- Each movement of money. Nothing makes it unique by order: a double charge would be seen here.
create table gateway.movement (
  reference    text        primary key,
  kind         text        not null check (kind in ('charge', 'refund')),
  key          text        not null,
  -- the merchant's reference: saga id / step / epoch
  our_ref      text        not null,
  amount_minor bigint      not null check (amount_minor > 0),
  currency     char(3)     not null,
  at           timestamptz not null default now()
);
create index movement_our_ref on gateway.movement (our_ref);

-- What an idempotency key was answered, for as long as keys are remembered.
create table gateway.remembered (
  key        text        primary key,
  answer     text        not null,
  reference  text,
  code       text,
  at         timestamptz not null default now()
);
-- Old keys are removed by their time. BRIN: the table is in that order anyway, and an insert costs nothing.
create index remembered_at on gateway.remembered using brin (at);
