-- History and journal record where a change was requested (origin) and, for events of a run, its
-- run_id in a column of its own. The events have the names of recsys.ledger.Action. The rows of
-- recsys.internal_hash become events of the history.

alter table recsys.history add column origin text check (origin <> '');
alter table recsys.history add column run_id text;
alter table recsys.journal add column origin text check (origin <> '');
comment on column recsys.history.origin is
    'Where the change was requested; null in rows from before migration 3, whose actor may name it.';
comment on column recsys.history.run_id is 'The run that the event is about, if it is about one.';

-- The history is append-only, so its trigger is off for this upgrade of the stored rows.
alter table recsys.history disable trigger append_only;

update recsys.history set
    action = case action
        when 'nothing new'          then 'nothing_new'
        when 'run failed'           then 'run_failed'
        when 'run late'             then 'run_late'
        when 'promotion undone'     then 'promotion_undone'
        when 'rollback undone'      then 'rollback_undone'
        when 'public copies mended' then 'public_copies_repaired'
        when 'judged and rejected'  then 'rejected_again'
        when 'gate overridden'      then 'gate_overridden'
        else action
    end,
    run_id = case
        when detail ? 'run_id' then detail ->> 'run_id'
        when action = 'nothing new' and reason like 'run %' then substr(reason, 5)
    end,
    detail = detail - 'run_id'
where action <> 'moved';

insert into recsys.history (at, actor, origin, reason, action, release_id, run_id, detail)
select at, 'airflow', 'run ' || run_id, 'production is at dataset ' || dataset_md5,
       'production_updated', release_id, run_id, jsonb_build_object('dataset_md5', dataset_md5)
from recsys.internal_hash order by id;

alter table recsys.history enable trigger append_only;

drop table recsys.internal_hash;

create index history_of_run on recsys.history (run_id, action) where run_id is not null;

create or replace function recsys.record_move() returns trigger language plpgsql as $$
declare
    old_state text := 'new';
    actor  text := coalesce(current_setting('recsys.actor', true), '');
    reason text := coalesce(current_setting('recsys.reason', true), '');
begin
    if tg_op = 'UPDATE' then
        old_state := old.state;
        if old_state = new.state then
            return new;
        end if;
        new.changed_at := clock_timestamp();
    end if;
    if not exists (select from recsys.release_moves m
                   where m.from_state = old_state and m.to_state = new.state) then
        raise exception 'release % may not move from % to %', new.release_id, old_state, new.state
            using errcode = 'check_violation', constraint = 'release_moves';
    end if;
    if actor = '' or reason = '' then
        raise exception 'a change of state needs an actor and a reason'
            using errcode = 'check_violation', constraint = 'actor_and_reason';
    end if;
    insert into recsys.history (actor, origin, reason, action, release_id, from_state, to_state)
    values (actor, nullif(current_setting('recsys.origin', true), ''), reason, 'moved',
            new.release_id, old_state, new.state);
    return new;
end $$;
