-- Accounts of the vector database, with least privileges. Run once, as an administrator, in the
-- database of the recommender:
--
--   psql --set=pipeline_password=... --set=site_password=... --file=docker/postgres/roles.sql
--
-- The pipeline creates its own tables and is not a superuser; enabling pgvector needs one, so it is
-- done here. The site's account may only read the champion's tables: it owns nothing, and the pipeline
-- grants the privileges to the role `recsys_site` at each promotion.
\set ON_ERROR_STOP on

create extension if not exists vector schema public;

create role recsys_site nologin;
create role recsys_pipeline login password :'pipeline_password'
    nosuperuser nocreatedb nocreaterole connection limit 40;
create role recsys_reader login password :'site_password'
    nosuperuser nocreatedb nocreaterole connection limit 60 in role recsys_site;
alter role recsys_reader set default_transaction_read_only = on;
alter role recsys_reader set statement_timeout = '5s';

select format('grant create, connect on database %I to recsys_pipeline', current_database()) \gexec
select format('grant connect on database %I to recsys_site', current_database()) \gexec
-- The pipeline sets the database's search path, which makes the public tables visible to readers.
select format('alter database %I owner to recsys_pipeline', current_database()) \gexec
grant recsys_site to recsys_pipeline with admin option;
