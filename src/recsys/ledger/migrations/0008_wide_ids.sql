-- Ids of users have up to 63 bits. The views and policies of releases with ids of type integer keep
-- calling the function that they were made with; those with ids of type bigint call the new one.

alter table recsys.erased_users alter column user_id type bigint;

create function recsys.is_being_erased(id bigint) returns boolean
language plpgsql stable security definer set search_path = pg_catalog as $$
begin
    return exists (select from recsys.erased_users e where e.user_id = id);
end $$;
