-- Which events people were told of, on which channel: a row is claimed before the telling and
-- marked after it, so that two processes do not tell the same thing twice.

create table recsys.alerts (
    event      text not null,
    channel    text not null,
    tries      integer not null default 0,
    claimed_at timestamptz not null default clock_timestamp(),
    sent_at    timestamptz,
    error      text,
    primary key (event, channel)
);
comment on table recsys.alerts is
    'One row an event and channel; event ''begin'' marks where a channel began to listen.';
