-- `orders.audit` is derived from `history`. What is new there is found by the transaction that wrote it: whatever has a
-- number below that of every running transaction can't get company any more. (A clock could not tell: transactions
-- commit in another order than the times that they write.) No statement changes, and a BRIN index costs an insert next
-- to nothing. Rows that are there have 0, without being written anew.
alter table public.history add column txid bigint not null default 0;
alter table public.history alter column txid set default txid_current();
comment on column public.history.txid is 'the transaction that wrote it; 0: before there was this column';
create index history_txid on public.history using brin (txid) with (pages_per_range = 32, autosummarize = on);

-- How far it is: the broker has acknowledged every row up to here, by (txid, saga_id, seq).
create table public.audit_cursor (
  one        boolean     primary key default true check (one),
  txid       bigint      not null,
  saga_id    uuid        not null,
  seq        integer     not null,
  changed_at timestamptz not null default clock_timestamp()
);
insert into public.audit_cursor (txid, saga_id, seq) values (0, '00000000-0000-0000-0000-000000000000', 0);
