-- What every service's database has: who is alive, and the events that are not yet at the broker.

-- One row per running process. An instance beats every second; who is three beats late counts as dead.
create table skald.instance (
    id         uuid        primary key,
    service    text        not null,
    address    text        not null,
    started_at timestamptz not null default clock_timestamp(),
    beat_at    timestamptz not null default clock_timestamp()
) with (fillfactor = 50);

-- One row per event, written in the transaction that caused it and deleted when the broker has acknowledged it.
-- Usually nearly empty: thresholds keep vacuum from waiting for a share of a table that has none.
create table skald.outbox (
    id          uuid        primary key,
    owner       uuid        not null,
    topic       text        not null,
    key         text        not null,
    type        text        not null,
    source      text        not null,
    subject     text        not null,
    sequence    text        not null,
    time        timestamptz not null,
    traceparent text,
    payload     bytea       not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_insert_threshold = -1);

comment on column skald.outbox.owner is 'skald.instance.id of the process that relays it; adopted by another when that is dead';
comment on column skald.outbox.sequence is 'zero-padded, so that it sorts as a string; consumers drop what is not newer';
