SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE SCHEMA recsys;
CREATE SCHEMA recsys_live;
CREATE SCHEMA recsys_views_c4ca4238_7215fe2a;
CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;
COMMENT ON EXTENSION vector IS 'vector data type and ivfflat and hnsw access methods';
CREATE FUNCTION recsys.keep_a_champion() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    if not exists (select from recsys.releases where state = 'champion') then
        raise exception 'the champion may only be replaced, never removed'
            using errcode = 'check_violation', constraint = 'keep_a_champion';
    end if;
    return null;
end $$;
CREATE FUNCTION recsys.record_move() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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
    insert into recsys.history (actor, reason, action, release_id, from_state, to_state)
    values (actor, reason, 'moved', new.release_id, old_state, new.state);
    return new;
end $$;
CREATE FUNCTION recsys.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    raise exception '% on %.% is refused: its rows are only ever added', tg_op, tg_table_schema,
        tg_table_name using errcode = 'check_violation', constraint = 'append_only';
end $$;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE recsys.alerts (
    event text NOT NULL,
    channel text NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    claimed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    sent_at timestamp with time zone,
    error text
);
COMMENT ON TABLE recsys.alerts IS 'One row an event and channel; event ''begin'' marks where a channel began to listen.';
CREATE TABLE recsys.releases (
    release_id text NOT NULL,
    dataset_md5 text NOT NULL,
    fingerprint text NOT NULL,
    build jsonb NOT NULL,
    state text NOT NULL,
    run_id text NOT NULL,
    run_nonce text NOT NULL,
    manifest jsonb,
    manifest_sha256 text,
    tables jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    changed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    completed_at timestamp with time zone,
    promoted_at timestamp with time zone,
    CONSTRAINT complete_before_served CHECK (((state <> ALL (ARRAY['candidate'::text, 'champion'::text, 'superseded'::text, 'rolled_back'::text])) OR ((manifest IS NOT NULL) AND (completed_at IS NOT NULL)))),
    CONSTRAINT releases_check CHECK ((release_id = (("left"(dataset_md5, 8) || '-'::text) || "left"(fingerprint, 8)))),
    CONSTRAINT releases_dataset_md5_check CHECK ((dataset_md5 ~ '^[0-9a-f]{32}$'::text)),
    CONSTRAINT releases_fingerprint_check CHECK ((fingerprint ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT releases_release_id_check CHECK ((release_id ~ '^[0-9a-f]{8}-[0-9a-f]{8}$'::text))
);
CREATE VIEW recsys.current_release AS
 SELECT release_id,
    (manifest #>> '{build,dataset_md5}'::text[]) AS dataset_md5,
    (('releases/'::text || release_id) || '/model.keras'::text) AS model_key,
    ( SELECT (a.value ->> 'sha256'::text)
           FROM jsonb_array_elements((releases.manifest -> 'artifacts'::text)) a(value)
          WHERE ((a.value ->> 'name'::text) = 'model.keras'::text)) AS model_sha256,
    ((manifest #>> '{dims,movie_vectors}'::text[]))::integer AS movie_vector_dim,
    ((manifest #>> '{dims,towers}'::text[]))::integer AS tower_dim,
    ('recsys.movie_vectors_'::text || replace(release_id, '-'::text, '_'::text)) AS movie_vectors_table,
    ('recsys.user_towers_'::text || replace(release_id, '-'::text, '_'::text)) AS user_towers_table,
    ('recsys.movie_towers_'::text || replace(release_id, '-'::text, '_'::text)) AS movie_towers_table,
    promoted_at
   FROM recsys.releases
  WHERE (state = 'champion'::text);
COMMENT ON VIEW recsys.current_release IS 'One row: the release being served. Read it, then the model and tables that it names: they never change under their names, so the pair is exact.';
CREATE TABLE recsys.decisions (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    release_id text NOT NULL,
    champion text,
    run_id text NOT NULL,
    accepted boolean NOT NULL,
    decision jsonb NOT NULL,
    diff jsonb
);
COMMENT ON COLUMN recsys.decisions.diff IS 'What the site would notice, held against the champion.';
ALTER TABLE recsys.decisions ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME recsys.decisions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE recsys.history (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    action text NOT NULL,
    release_id text,
    from_state text,
    to_state text,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT history_actor_check CHECK ((actor <> ''::text)),
    CONSTRAINT history_reason_check CHECK ((reason <> ''::text))
);
ALTER TABLE recsys.history ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME recsys.history_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE recsys.internal_hash (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    dataset_md5 text NOT NULL,
    release_id text NOT NULL,
    run_id text NOT NULL
);
COMMENT ON TABLE recsys.internal_hash IS 'The dataset that production was last brought up to, one row a run; the newest row holds.';
ALTER TABLE recsys.internal_hash ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME recsys.internal_hash_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE recsys.journal (
    id bigint NOT NULL,
    kind text NOT NULL,
    from_release text,
    to_release text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    opened_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    closed_at timestamp with time zone,
    outcome text,
    CONSTRAINT journal_actor_check CHECK ((actor <> ''::text)),
    CONSTRAINT journal_check CHECK (((closed_at IS NULL) = (outcome IS NULL))),
    CONSTRAINT journal_check1 CHECK ((from_release <> to_release)),
    CONSTRAINT journal_kind_check CHECK ((kind = ANY (ARRAY['promotion'::text, 'rollback'::text]))),
    CONSTRAINT journal_outcome_check CHECK ((outcome = ANY (ARRAY['committed'::text, 'undone'::text]))),
    CONSTRAINT journal_reason_check CHECK ((reason <> ''::text))
);
ALTER TABLE recsys.journal ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME recsys.journal_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE recsys.migrations (
    number integer NOT NULL,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
CREATE TABLE recsys.movie_towers_c4ca4238_7215fe2a (
    movieid integer NOT NULL,
    vector public.halfvec(64) NOT NULL
);
COMMENT ON TABLE recsys.movie_towers_c4ca4238_7215fe2a IS '{"digest": "74c5e680e691fbb55904094ce3f2805792b925892d15ada586d8915ea6b5eee3", "rows": 3, "release_id": "c4ca4238-7215fe2a"}';
CREATE TABLE recsys.movie_towers_c81e728d_dc8b2c69 (
    movieid integer NOT NULL,
    vector public.halfvec(64) NOT NULL
);
COMMENT ON TABLE recsys.movie_towers_c81e728d_dc8b2c69 IS '{"digest": "3bfeef757f2f55533819d2f91870580e7bde5db4d208e5470fc01427348e4776", "rows": 3, "release_id": "c81e728d-dc8b2c69"}';
CREATE TABLE recsys.movie_towers_eccbc87e_cdb84cdb (
    movieid integer NOT NULL,
    vector public.halfvec(64) NOT NULL
);
COMMENT ON TABLE recsys.movie_towers_eccbc87e_cdb84cdb IS '{"digest": "7f6294e449704800bbd8749a1cce66254c724736dc6cfe248a7422e668e2d987", "rows": 3, "release_id": "eccbc87e-cdb84cdb"}';
CREATE TABLE recsys.movie_vectors_c4ca4238_7215fe2a (
    movieid integer NOT NULL,
    vector public.halfvec(128) NOT NULL
);
COMMENT ON TABLE recsys.movie_vectors_c4ca4238_7215fe2a IS '{"digest": "f4d91962a729ff191f152cdd4a4f15ef012e71805b4f4907c636a01aca45ba8e", "rows": 3, "release_id": "c4ca4238-7215fe2a"}';
CREATE TABLE recsys.movie_vectors_c81e728d_dc8b2c69 (
    movieid integer NOT NULL,
    vector public.halfvec(128) NOT NULL
);
COMMENT ON TABLE recsys.movie_vectors_c81e728d_dc8b2c69 IS '{"digest": "e151e26c6c3183c986cddc62c97092d7a4919d7620bc5f7c01c6e7b8eb6ab8c9", "rows": 3, "release_id": "c81e728d-dc8b2c69"}';
CREATE TABLE recsys.movie_vectors_eccbc87e_cdb84cdb (
    movieid integer NOT NULL,
    vector public.halfvec(128) NOT NULL
);
COMMENT ON TABLE recsys.movie_vectors_eccbc87e_cdb84cdb IS '{"digest": "3e81c86a47fc2f90484a300a09e5253c37718dc8a0f58ca6d481c08a2c5b3562", "rows": 3, "release_id": "eccbc87e-cdb84cdb"}';
CREATE TABLE recsys.release_moves (
    from_state text NOT NULL,
    to_state text NOT NULL
);
COMMENT ON TABLE recsys.release_moves IS 'Every move that a release''s state may make; ''new'' stands for a release not yet known.';
CREATE TABLE recsys.user_towers_c4ca4238_7215fe2a (
    userid integer NOT NULL,
    vector public.halfvec(64) NOT NULL,
    seen integer[] NOT NULL
);
COMMENT ON TABLE recsys.user_towers_c4ca4238_7215fe2a IS '{"digest": "80d989784099d80a3aac8f28c5fceb7682799a11cfe826a15972a213f7685c97", "rows": 2, "release_id": "c4ca4238-7215fe2a"}';
CREATE TABLE recsys.user_towers_c81e728d_dc8b2c69 (
    userid integer NOT NULL,
    vector public.halfvec(64) NOT NULL,
    seen integer[] NOT NULL
);
COMMENT ON TABLE recsys.user_towers_c81e728d_dc8b2c69 IS '{"digest": "532f25d6aed97408d9d59c8b7785abc008f1a1f02e107ad0fc9c3bf5793f17aa", "rows": 2, "release_id": "c81e728d-dc8b2c69"}';
CREATE TABLE recsys.user_towers_eccbc87e_cdb84cdb (
    userid integer NOT NULL,
    vector public.halfvec(64) NOT NULL,
    seen integer[] NOT NULL
);
COMMENT ON TABLE recsys.user_towers_eccbc87e_cdb84cdb IS '{"digest": "b8b93e99eeadcefc40759ad4768fb69938723c1e4b94824ae0a420365d6a5668", "rows": 2, "release_id": "eccbc87e-cdb84cdb"}';
CREATE VIEW recsys_live.movie_towers AS
 SELECT movieid,
    vector
   FROM recsys.movie_towers_c81e728d_dc8b2c69;
CREATE VIEW recsys_live.movie_vectors AS
 SELECT movieid,
    vector
   FROM recsys.movie_vectors_c81e728d_dc8b2c69;
CREATE VIEW recsys_live.user_towers AS
 SELECT userid,
    vector,
    seen
   FROM recsys.user_towers_c81e728d_dc8b2c69;
CREATE VIEW recsys_views_c4ca4238_7215fe2a.movie_towers AS
 SELECT movieid,
    vector
   FROM recsys.movie_towers_c4ca4238_7215fe2a;
CREATE VIEW recsys_views_c4ca4238_7215fe2a.movie_vectors AS
 SELECT movieid,
    vector
   FROM recsys.movie_vectors_c4ca4238_7215fe2a;
CREATE VIEW recsys_views_c4ca4238_7215fe2a.user_towers AS
 SELECT userid,
    vector,
    seen
   FROM recsys.user_towers_c4ca4238_7215fe2a;
INSERT INTO recsys.decisions OVERRIDING SYSTEM VALUE VALUES (1, '2026-11-01 08:49:29.157521+00', 'c4ca4238-7215fe2a', NULL, 'run-1', true, '{"rules": [{"name": "metrics_are_numbers", "value": 0.0, "passed": true, "reason": "all metrics are finite, possible, and agree with each other", "binding": true, "threshold": 0.0}, {"name": "predictions_are_stars", "value": 0.0, "passed": true, "reason": "stars by which a mean prediction lies outside 0.5 to 5.0: found 0.0000, expected at most 0.0000", "binding": true, "threshold": 0.0}, {"name": "rmse_against_bias", "value": -0.04, "passed": true, "reason": "RMSE less that of user and movie biases, upper end of its confidence interval: found -0.0400, expected below 0.0000", "binding": true, "threshold": 0.0}, {"name": "ndcg_against_popularity", "value": 0.03, "passed": true, "reason": "NDCG@10 less that of the most popular movies, lower end of its confidence interval: found 0.0300, expected above 0.0000", "binding": true, "threshold": 0.0}, {"name": "coverage_floor", "value": 0.2, "passed": true, "reason": "share of movies recommended to anyone: found 0.2000, expected at least 0.0100", "binding": true, "threshold": 0.01}, {"name": "rmse_too_good", "value": 0.85, "passed": true, "reason": "RMSE, which a model that has seen the holdout (a leak) would bring under: found 0.8500, expected at least 0.6750", "binding": true, "threshold": 0.675}, {"name": "ndcg_too_good", "value": 0.15, "passed": true, "reason": "NDCG@10, which recommendations that know the holdout (a leak) would bring over: found 0.1500, expected at most 0.6000", "binding": true, "threshold": 0.6}, {"name": "rmse_by_user_activity", "value": -0.04444444444444451, "passed": true, "reason": "rise of the RMSE over a baseline''s (share), worst slice by user activity (few): found -0.0444, expected at most 0.0500", "binding": true, "threshold": 0.05}, {"name": "ndcg_by_user_activity", "value": -0.4000000000000001, "passed": true, "reason": "drop of NDCG@10 below a baseline''s (share of its all), worst slice by user activity (few): found -0.4000, expected at most 0.2500", "binding": true, "threshold": 0.25}], "reason": "every binding rule passed; there is no other champion", "accepted": true, "override": null}', NULL);
INSERT INTO recsys.decisions OVERRIDING SYSTEM VALUE VALUES (2, '2026-11-01 08:49:32.303969+00', 'c81e728d-dc8b2c69', NULL, 'run-2', true, '{"rules": [{"name": "metrics_are_numbers", "value": 0.0, "passed": true, "reason": "all metrics are finite, possible, and agree with each other", "binding": true, "threshold": 0.0}, {"name": "predictions_are_stars", "value": 0.0, "passed": true, "reason": "stars by which a mean prediction lies outside 0.5 to 5.0: found 0.0000, expected at most 0.0000", "binding": true, "threshold": 0.0}, {"name": "rmse_against_bias", "value": -0.04, "passed": true, "reason": "RMSE less that of user and movie biases, upper end of its confidence interval: found -0.0400, expected below 0.0000", "binding": true, "threshold": 0.0}, {"name": "ndcg_against_popularity", "value": 0.03, "passed": true, "reason": "NDCG@10 less that of the most popular movies, lower end of its confidence interval: found 0.0300, expected above 0.0000", "binding": true, "threshold": 0.0}, {"name": "coverage_floor", "value": 0.2, "passed": true, "reason": "share of movies recommended to anyone: found 0.2000, expected at least 0.0100", "binding": true, "threshold": 0.01}, {"name": "rmse_too_good", "value": 0.85, "passed": true, "reason": "RMSE, which a model that has seen the holdout (a leak) would bring under: found 0.8500, expected at least 0.6750", "binding": true, "threshold": 0.675}, {"name": "ndcg_too_good", "value": 0.15, "passed": true, "reason": "NDCG@10, which recommendations that know the holdout (a leak) would bring over: found 0.1500, expected at most 0.6000", "binding": true, "threshold": 0.6}, {"name": "rmse_by_user_activity", "value": -0.04444444444444451, "passed": true, "reason": "rise of the RMSE over a baseline''s (share), worst slice by user activity (few): found -0.0444, expected at most 0.0500", "binding": true, "threshold": 0.05}, {"name": "ndcg_by_user_activity", "value": -0.4000000000000001, "passed": true, "reason": "drop of NDCG@10 below a baseline''s (share of its all), worst slice by user activity (few): found -0.4000, expected at most 0.2500", "binding": true, "threshold": 0.25}], "reason": "every binding rule passed; there is no other champion", "accepted": true, "override": null}', NULL);
INSERT INTO recsys.decisions OVERRIDING SYSTEM VALUE VALUES (3, '2026-11-01 08:49:35.75669+00', 'eccbc87e-cdb84cdb', NULL, 'run-3', true, '{"rules": [{"name": "metrics_are_numbers", "value": 0.0, "passed": true, "reason": "all metrics are finite, possible, and agree with each other", "binding": true, "threshold": 0.0}, {"name": "predictions_are_stars", "value": 0.0, "passed": true, "reason": "stars by which a mean prediction lies outside 0.5 to 5.0: found 0.0000, expected at most 0.0000", "binding": true, "threshold": 0.0}, {"name": "rmse_against_bias", "value": -0.04, "passed": true, "reason": "RMSE less that of user and movie biases, upper end of its confidence interval: found -0.0400, expected below 0.0000", "binding": true, "threshold": 0.0}, {"name": "ndcg_against_popularity", "value": 0.03, "passed": true, "reason": "NDCG@10 less that of the most popular movies, lower end of its confidence interval: found 0.0300, expected above 0.0000", "binding": true, "threshold": 0.0}, {"name": "coverage_floor", "value": 0.2, "passed": true, "reason": "share of movies recommended to anyone: found 0.2000, expected at least 0.0100", "binding": true, "threshold": 0.01}, {"name": "rmse_too_good", "value": 0.85, "passed": true, "reason": "RMSE, which a model that has seen the holdout (a leak) would bring under: found 0.8500, expected at least 0.6750", "binding": true, "threshold": 0.675}, {"name": "ndcg_too_good", "value": 0.15, "passed": true, "reason": "NDCG@10, which recommendations that know the holdout (a leak) would bring over: found 0.1500, expected at most 0.6000", "binding": true, "threshold": 0.6}, {"name": "rmse_by_user_activity", "value": -0.04444444444444451, "passed": true, "reason": "rise of the RMSE over a baseline''s (share), worst slice by user activity (few): found -0.0444, expected at most 0.0500", "binding": true, "threshold": 0.05}, {"name": "ndcg_by_user_activity", "value": -0.4000000000000001, "passed": true, "reason": "drop of NDCG@10 below a baseline''s (share of its all), worst slice by user activity (few): found -0.4000, expected at most 0.2500", "binding": true, "threshold": 0.25}], "reason": "every binding rule passed; there is no other champion", "accepted": true, "override": null}', NULL);
INSERT INTO recsys.history OVERRIDING SYSTEM VALUE VALUES (1, '2026-11-01 08:49:24.185954+00', 't', 't', 'moved', 'c4ca4238-7215fe2a', 'new', 'building', '{}');
INSERT INTO recsys.history OVERRIDING SYSTEM VALUE VALUES (2, '2026-11-01 08:49:29.00871+00', 't', 't', 'moved', 'c4ca4238-7215fe2a', 'building', 'candidate', '{}');
INSERT INTO recsys.history OVERRIDING SYSTEM VALUE VALUES (3, '2026-11-01 08:49:30.940218+00', 'airflow', 'run scheduled__2026-09-06', 'moved', 'c4ca4238-7215fe2a', 'candidate', 'champion', '{}');
INSERT INTO recsys.history OVERRIDING SYSTEM VALUE VALUES (4, '2026-11-01 08:49:31.466046+00', 't', 't', 'moved', 'c81e728d-dc8b2c69', 'new', 'building', '{}');
INSERT INTO recsys.history OVERRIDING SYSTEM VALUE VALUES (5, '2026-11-01 08:49:32.250913+00', 't', 't', 'moved', 'c81e728d-dc8b2c69', 'building', 'candidate', '{}');
INSERT INTO recsys.history OVERRIDING SYSTEM VALUE VALUES (6, '2026-11-01 08:49:32.966479+00', 'ada by manual__2026-09-13', 'approved in Airflow', 'moved', 'c4ca4238-7215fe2a', 'champion', 'superseded', '{}');
INSERT INTO recsys.history OVERRIDING SYSTEM VALUE VALUES (7, '2026-11-01 08:49:32.979939+00', 'ada by manual__2026-09-13', 'approved in Airflow', 'moved', 'c81e728d-dc8b2c69', 'candidate', 'champion', '{}');
INSERT INTO recsys.history OVERRIDING SYSTEM VALUE VALUES (8, '2026-11-01 08:49:33.833386+00', 'ada (recsys)', 'complaints from the site', 'moved', 'c81e728d-dc8b2c69', 'champion', 'rolled_back', '{}');
INSERT INTO recsys.history OVERRIDING SYSTEM VALUE VALUES (9, '2026-11-01 08:49:33.841685+00', 'ada (recsys)', 'complaints from the site', 'moved', 'c4ca4238-7215fe2a', 'superseded', 'champion', '{}');
INSERT INTO recsys.history OVERRIDING SYSTEM VALUE VALUES (10, '2026-11-01 08:49:34.711318+00', 'ada (recsys)', 'it was something else', 'moved', 'c4ca4238-7215fe2a', 'champion', 'superseded', '{}');
INSERT INTO recsys.history OVERRIDING SYSTEM VALUE VALUES (11, '2026-11-01 08:49:34.721935+00', 'ada (recsys)', 'it was something else', 'moved', 'c81e728d-dc8b2c69', 'rolled_back', 'champion', '{}');
INSERT INTO recsys.history OVERRIDING SYSTEM VALUE VALUES (12, '2026-11-01 08:49:35.050968+00', 't', 't', 'moved', 'eccbc87e-cdb84cdb', 'new', 'building', '{}');
INSERT INTO recsys.history OVERRIDING SYSTEM VALUE VALUES (13, '2026-11-01 08:49:35.695105+00', 't', 't', 'moved', 'eccbc87e-cdb84cdb', 'building', 'candidate', '{}');
INSERT INTO recsys.history OVERRIDING SYSTEM VALUE VALUES (14, '2026-11-01 08:49:35.829712+00', 'airflow', 'RMSE 0.95 > 0.9', 'moved', 'eccbc87e-cdb84cdb', 'candidate', 'rejected', '{}');
INSERT INTO recsys.history OVERRIDING SYSTEM VALUE VALUES (15, '2026-11-01 08:49:35.834952+00', 'airflow', 'run scheduled__2026-09-20', 'nothing new', 'c81e728d-dc8b2c69', NULL, NULL, '{}');
INSERT INTO recsys.internal_hash OVERRIDING SYSTEM VALUE VALUES (1, '2026-11-01 08:49:35.844799+00', 'c81e728d9d4c2f636f067f89cc14862c', 'c81e728d-dc8b2c69', 'manual__2026-09-13');
INSERT INTO recsys.journal OVERRIDING SYSTEM VALUE VALUES (1, 'promotion', NULL, 'c4ca4238-7215fe2a', 'airflow', 'run scheduled__2026-09-06', '2026-11-01 08:49:30.36559+00', '2026-11-01 08:49:30.877358+00', 'committed');
INSERT INTO recsys.journal OVERRIDING SYSTEM VALUE VALUES (2, 'promotion', 'c4ca4238-7215fe2a', 'c81e728d-dc8b2c69', 'ada by manual__2026-09-13', 'approved in Airflow', '2026-11-01 08:49:32.848496+00', '2026-11-01 08:49:32.962771+00', 'committed');
INSERT INTO recsys.journal OVERRIDING SYSTEM VALUE VALUES (3, 'rollback', 'c81e728d-dc8b2c69', 'c4ca4238-7215fe2a', 'ada (recsys)', 'complaints from the site', '2026-11-01 08:49:33.74582+00', '2026-11-01 08:49:33.829324+00', 'committed');
INSERT INTO recsys.journal OVERRIDING SYSTEM VALUE VALUES (4, 'promotion', 'c4ca4238-7215fe2a', 'c81e728d-dc8b2c69', 'ada (recsys)', 'it was something else', '2026-11-01 08:49:34.604196+00', '2026-11-01 08:49:34.703788+00', 'committed');
INSERT INTO recsys.migrations VALUES (1, 'ledger', 'c0344dec70454d4c1619a34172ca61857dcbe7794cb2d1f521287a75e75c58db', '2026-11-01 08:49:24.097542+00');
INSERT INTO recsys.migrations VALUES (2, 'alerts', 'b507fa03cde92e25e3f3a23da54f5ff7d90495405bab3e4d360f4d093d17fda0', '2026-11-01 08:49:24.14059+00');
INSERT INTO recsys.movie_towers_c4ca4238_7215fe2a VALUES (1, '[1.6728516,-1.2910156,-0.83154297,-0.16223145,0.80908203,0.25170898,0.7421875,-1.0673828,0.9448242,0.56884766,-1.5947266,1.5400391,2.2929688,-0.7685547,0.055664062,1.3974609,-1.4814453,-1.9902344,-1.296875,-0.56689453,-0.5786133,0.6074219,0.2685547,-1.2460938,0.5673828,1.8740234,1.1972656,0.99121094,0.02017212,0.98339844,-0.9663086,0.75097656,-0.08721924,1.1308594,0.46606445,-1.0898438,0.12805176,1.2177734,-1.1289062,-0.55908203,-0.7685547,-1.4960938,0.9614258,1.3105469,0.7998047,0.24255371,-0.05203247,0.23937988,-0.7314453,0.89404297,1.0458984,0.9326172,-0.5307617,0.078430176,-0.16577148,1.7890625,0.1796875,-1.8818359,0.3984375,1.8818359,0.6850586,0.87939453,0.036071777,-1.9716797]');
INSERT INTO recsys.movie_towers_c4ca4238_7215fe2a VALUES (2, '[-1.8105469,-1.2460938,-0.12683105,0.3100586,0.6894531,-0.34057617,0.95703125,-0.27978516,-0.70458984,0.8515625,-0.9145508,-2.7285156,-1.0595703,0.094177246,-3.0800781,-0.35717773,-0.33203125,-1.4267578,-1.4824219,-0.46240234,-0.546875,1.2597656,0.37475586,-1.5810547,-0.8544922,0.7050781,1.8955078,0.3864746,0.31079102,1.8603516,-0.02267456,-0.30908203,-1.4130859,-0.5131836,2.1796875,-1.421875,0.011192322,-1.4082031,0.12841797,0.8876953,-0.24365234,0.73046875,0.7207031,0.44702148,1.7158203,0.7788086,-0.30493164,-0.68066406,-0.84521484,0.47583008,-0.32373047,2.7285156,1.8427734,-0.21447754,-0.32910156,1.6904297,-1.8837891,-0.45166016,0.9506836,-0.9121094,-0.47680664,-0.35107422,0.66064453,0.13757324]');
INSERT INTO recsys.movie_towers_c4ca4238_7215fe2a VALUES (3, '[0.4020996,0.59521484,0.029937744,1.1103516,-0.7290039,-1.4365234,-1.7773438,-1.6210938,-0.55029297,1.0302734,0.17419434,-0.5986328,-1.0703125,-0.5288086,-0.40356445,-0.5649414,-1.4326172,-0.47583008,1.0175781,-2.1738281,-0.24060059,-2.1210938,0.18310547,-0.7475586,-2.0859375,0.10070801,1.8173828,0.10888672,1.1621094,-0.0715332,-2.1582031,0.49047852,-0.4182129,-1.4619141,0.78466797,0.28686523,-0.5253906,0.86816406,-0.8720703,0.6435547,-0.9404297,0.5341797,-1.1005859,1.4892578,0.25439453,1.4326172,-0.8222656,-0.47607422,0.83984375,-2.7441406,-1.0664062,1.0332031,0.4650879,0.9790039,-0.30981445,0.56396484,-0.73095703,-1.3720703,-1.6943359,-0.5517578,-0.5488281,-0.62939453,-3.5488281,-1.9990234]');
INSERT INTO recsys.movie_towers_c81e728d_dc8b2c69 VALUES (1, '[-1.1259766,0.875,-0.39819336,-0.5522461,-1.1279297,1.8085938,0.7416992,-0.1328125,-0.6948242,-1.5302734,0.29174805,0.28833008,-1.4082031,1.1611328,0.7758789,-0.96191406,-0.55566406,-0.4272461,0.16064453,-0.14562988,-1.6386719,1.4736328,0.31640625,1.2607422,1.2548828,-0.20788574,0.34204102,0.7368164,0.76953125,-0.16394043,-0.61816406,0.03527832,-0.8017578,-0.55615234,-2.0292969,0.083618164,-1.0273438,-0.55566406,-0.052703857,0.3137207,1.8896484,0.2043457,-1.4130859,0.1307373,-0.5957031,0.39941406,-0.6855469,-0.7084961,-0.51123047,-0.6274414,-1.8251953,-0.66845703,-0.014007568,1.2001953,-0.2932129,-0.37182617,0.5800781,0.5395508,1.5996094,0.58496094,-0.019454956,1.3378906,1.5292969,-0.4753418]');
INSERT INTO recsys.movie_towers_c81e728d_dc8b2c69 VALUES (2, '[0.15808105,-1.6806641,-0.36401367,-0.88378906,-0.21411133,-0.48168945,-0.16601562,-0.103027344,0.4934082,0.23095703,-0.5620117,-1.2890625,1.234375,1.4169922,-0.4543457,0.56152344,-1.5263672,-1.5625,-0.2697754,1.4716797,-1.046875,-0.8339844,1.6074219,-1.8935547,0.6459961,0.48779297,-0.20629883,0.18859863,2.6210938,-1.1269531,-0.31396484,-0.23815918,-0.6894531,-1.3417969,1.59375,0.22009277,-1.7578125,-0.7026367,0.40551758,0.4033203,-1.4404297,-0.091430664,0.26098633,0.39257812,0.39453125,-1.8232422,1.8466797,0.21118164,1.8056641,2.8632812,-0.16052246,-1.2333984,0.8642578,-0.18078613,-0.45141602,-1.0332031,1.6875,-0.44262695,-1.3994141,-0.44750977,-1.1572266,0.15795898,-0.4194336,-1.0576172]');
INSERT INTO recsys.movie_towers_c81e728d_dc8b2c69 VALUES (3, '[0.6015625,-0.6435547,0.7236328,1.2607422,-0.36206055,-0.6464844,0.19934082,0.89160156,-0.0027923584,0.14001465,-0.026885986,0.3112793,0.62890625,-0.7060547,-0.48242188,0.0435791,-0.66552734,0.1361084,0.5361328,-0.021728516,-0.6035156,-0.77734375,1.7509766,0.87841797,-1.1201172,-0.8408203,1.8740234,1.5117188,0.12817383,1.1582031,-1.4873047,0.0013122559,0.74072266,-1.8603516,-0.7832031,0.78271484,1.1318359,-0.5932617,0.28979492,1.6005859,-0.38183594,-1.3330078,-0.061401367,-0.3930664,1.3007812,0.16015625,-0.8022461,2.4003906,-0.5,0.4724121,0.67626953,0.7841797,0.17297363,0.58691406,-0.06793213,-1.4189453,-0.21984863,-0.19836426,-0.17773438,0.1361084,-0.6245117,1.3232422,1.5664062,-2.2011719]');
INSERT INTO recsys.movie_towers_eccbc87e_cdb84cdb VALUES (1, '[0.27172852,1.9228516,-0.40576172,0.036987305,-0.19946289,0.67285156,-1.1816406,-0.6928711,-0.039489746,0.5463867,-0.046295166,-0.5004883,-0.8666992,0.51171875,1.4423828,0.3227539,0.18811035,0.44384766,-0.9428711,-0.31176758,-0.26782227,0.29516602,-0.03201294,-1.2167969,1.125,1.6923828,-0.2631836,0.39892578,0.26708984,0.78466797,-1.4794922,1.6132812,-0.46777344,1.2646484,0.08068848,-0.38964844,-0.14050293,0.89697266,-0.86328125,-0.37524414,-0.48217773,-1.7158203,1.3007812,0.57910156,-0.021316528,1.1640625,-0.95654297,-0.07342529,1.7255859,0.9794922,-2.2246094,-3.3320312,-1.0380859,1.0615234,-0.4724121,-0.21777344,0.60839844,-0.8852539,0.21289062,0.7919922,0.46704102,0.3959961,-0.6020508,0.51416016]');
INSERT INTO recsys.movie_towers_eccbc87e_cdb84cdb VALUES (2, '[-0.42773438,1.3046875,2.5703125,-0.7397461,-2.1738281,-0.4255371,0.37695312,1.0498047,1.0791016,-0.7841797,-0.79345703,1.2675781,-1.0927734,1.0898438,-0.22692871,0.76660156,0.7060547,0.77685547,0.8203125,-0.9892578,0.29760742,0.01398468,0.3083496,1.2333984,-0.2709961,-0.71191406,-0.72802734,-0.31079102,0.7524414,-0.8149414,1.1591797,0.29052734,-0.22607422,-1.3320312,0.24487305,0.69140625,-1.765625,1.1923828,1.6474609,0.33862305,0.49169922,2.4140625,1.2314453,-0.8979492,-0.016647339,-0.15698242,-0.1508789,-2.3652344,0.75683594,-0.63671875,0.16369629,-0.1361084,0.87109375,-0.29589844,-0.79541016,0.53222656,1.4052734,-0.31982422,1.3701172,0.26220703,-0.53271484,1.5253906,-0.81884766,1.0136719]');
INSERT INTO recsys.movie_towers_eccbc87e_cdb84cdb VALUES (3, '[-0.49829102,0.4501953,-1.234375,-0.83740234,1.0654297,0.18811035,0.03829956,-0.43969727,0.4465332,-1.3974609,-1.1201172,-0.15783691,-0.83447266,-0.7006836,-0.0715332,-0.13757324,-0.22253418,1.6650391,1.0107422,1.2294922,-0.028167725,-0.5048828,-1.4541016,-0.34814453,-2.0859375,-0.5839844,0.76416016,1.6210938,0.9658203,-0.8618164,0.49267578,-0.7890625,0.8227539,-0.11138916,0.85839844,2.5722656,0.9223633,2.3320312,0.17749023,-0.32983398,1.3339844,1.7246094,-0.5551758,0.076660156,-1.4345703,-0.20007324,0.8881836,-0.086364746,-0.56933594,-1.4072266,0.36816406,0.7973633,0.5966797,0.2553711,-1.2744141,1.7617188,-0.056549072,-0.14477539,0.73291016,-2.1640625,-0.064453125,-0.13684082,0.37231445,1.3466797]');
INSERT INTO recsys.movie_vectors_c4ca4238_7215fe2a VALUES (1, '[0.033477783,0.07965088,0.03201294,-0.12634277,0.08770752,0.04324341,-0.05203247,0.05630493,0.035339355,0.028503418,0.0027542114,0.052978516,-0.0713501,-0.015792847,-0.046722412,0.058044434,0.0038490295,-0.028335571,-0.07574463,-0.024917603,0.0007891655,-0.02670288,0.12536621,0.09753418,-0.2626953,-0.18310547,-0.016937256,-0.040924072,0.020706177,0.021057129,0.2052002,-0.107788086,-0.036590576,0.19799805,0.062683105,0.06427002,-0.049804688,-0.15966797,0.016235352,0.010566711,-0.11895752,-0.066223145,-0.006980896,-0.091552734,-0.009521484,0.009254456,0.0034484863,-0.049072266,0.057525635,0.086364746,0.031097412,-0.07928467,0.07092285,-0.048583984,0.08520508,-0.103881836,0.08862305,-0.0019445419,-0.121032715,-0.030426025,0.005241394,0.026428223,-0.09515381,-0.107299805,0.019348145,-0.04522705,0.022827148,0.0736084,-0.15979004,0.024658203,0.118652344,-0.028839111,-0.078552246,0.07287598,0.02456665,0.08679199,-0.033447266,-0.14355469,-0.010658264,-0.04321289,0.07513428,0.01876831,-0.15808105,-0.11584473,0.085632324,0.06585693,-0.062042236,-0.00010162592,0.043182373,0.04537964,0.0848999,0.024856567,-0.009185791,-0.02508545,0.10229492,-0.21813965,-0.013435364,0.0031986237,-0.1381836,0.03225708,-0.06311035,0.08355713,-0.012168884,0.064819336,0.11810303,0.037109375,-0.08483887,-0.14672852,0.16992188,-0.010787964,-0.066711426,0.013977051,-0.018554688,0.08258057,0.003288269,0.001332283,-0.0692749,0.04550171,-0.10021973,0.06451416,0.14770508,-0.14770508,-0.23901367,0.059783936,0.24694824,-0.09698486,-0.12121582,0.05706787]');
INSERT INTO recsys.movie_vectors_c4ca4238_7215fe2a VALUES (2, '[-0.08068848,-0.048553467,-0.03338623,0.05105591,-0.038879395,0.026657104,-0.016937256,-0.08105469,-0.030685425,-0.09118652,0.0006251335,-0.10784912,-0.1048584,0.13977051,-0.005104065,-0.0051727295,0.049072266,-0.040374756,-0.02192688,0.040802002,0.02709961,-0.111206055,0.079956055,-0.056640625,-0.10131836,-0.086364746,-0.037475586,0.15612793,-0.11279297,0.015357971,-0.20507812,-0.00015032291,0.08630371,-0.022705078,-0.060394287,0.022216797,0.06719971,0.06365967,0.18920898,0.020065308,-0.05682373,-0.012084961,-0.006954193,0.010429382,-0.0028800964,0.016693115,-0.16027832,0.079589844,-0.055145264,-0.11254883,0.061187744,0.12634277,0.047302246,0.015464783,-0.089416504,0.27539062,0.084472656,-0.109313965,-0.0748291,0.008346558,-0.14916992,0.016174316,-0.044036865,0.11767578,0.092285156,-0.26000977,0.0040016174,-0.15515137,0.10644531,0.01612854,0.052612305,-0.10217285,0.17541504,0.19384766,-0.10217285,0.0357666,-0.064575195,-0.0022621155,-0.121398926,0.17907715,-0.09295654,-0.028411865,0.04812622,-0.06213379,-0.022964478,-0.05407715,-0.012802124,-0.11230469,-0.042022705,-0.019851685,-0.03201294,0.0054397583,-0.028121948,0.072265625,-0.03100586,-0.0131073,-0.06378174,-0.05050659,-0.12133789,0.04977417,-0.10961914,-0.0715332,0.034454346,0.038635254,-0.038391113,-0.19372559,0.04034424,0.024902344,-0.13549805,0.073913574,-0.06726074,-0.10803223,0.009185791,-0.017120361,0.019439697,-0.15405273,0.17382812,-0.05783081,-0.14770508,0.059387207,-0.0340271,0.031173706,-0.032592773,-0.0057296753,0.02357483,-0.07165527,0.06512451,-0.045074463]');
INSERT INTO recsys.movie_vectors_c4ca4238_7215fe2a VALUES (3, '[-0.08276367,0.007331848,0.0423584,-0.02180481,-0.082092285,0.05899048,-0.16760254,-0.09814453,0.0037612915,-0.1295166,0.002664566,-0.0052223206,0.08557129,-0.08709717,-0.059570312,0.031707764,-0.23388672,0.29516602,-0.06652832,-0.06945801,0.081970215,-0.003791809,-0.1694336,0.059661865,0.0814209,-0.042816162,-0.026809692,0.04626465,-0.08648682,0.04171753,0.018966675,-0.06427002,-0.13256836,-0.021469116,-0.08331299,0.095336914,0.013717651,0.07446289,0.012817383,0.025024414,-0.074523926,0.06359863,0.16992188,-0.02947998,-0.056427002,-0.015022278,-0.045806885,-0.06677246,0.013153076,-0.027694702,0.13696289,1.9192696e-05,0.030838013,0.09063721,-0.028625488,0.13671875,-0.06021118,-0.07696533,-0.034851074,-0.010917664,-0.13342285,-0.0033397675,-0.1586914,0.13256836,-0.007709503,-0.06109619,-0.08648682,-0.036590576,-0.021240234,-0.09942627,-0.087524414,-0.017822266,-0.049560547,0.089416504,0.1083374,0.0015249252,0.045074463,-0.1270752,0.060668945,-0.002910614,0.046142578,0.15234375,-0.21716309,0.024841309,-0.10461426,0.056365967,-0.125,-0.04714966,0.019302368,0.058410645,0.007118225,-0.07543945,-0.052703857,0.08416748,-0.0005235672,-0.16027832,0.080322266,0.039611816,0.08312988,-0.032043457,0.07885742,-0.10101318,0.054260254,-0.046691895,0.064208984,0.095703125,-0.07006836,-0.004875183,0.0037078857,0.113220215,0.06762695,-0.11608887,0.043548584,0.07092285,0.20214844,-0.15979004,-0.05105591,0.12695312,-0.12902832,-0.11419678,0.049224854,0.09692383,-0.06365967,0.05142212,0.011131287,0.14453125,-0.00014448166,0.09423828]');
INSERT INTO recsys.movie_vectors_c81e728d_dc8b2c69 VALUES (1, '[0.017318726,-0.04788208,-0.037841797,-0.22363281,0.16479492,0.10479736,-0.029800415,0.07086182,0.025756836,-0.050720215,0.089538574,-0.028442383,-0.03012085,-0.0725708,0.041656494,-0.009086609,0.049957275,-0.055603027,0.011619568,-0.081726074,0.0770874,0.017227173,0.030273438,0.037597656,-0.09259033,0.07171631,0.18835449,-0.15002441,-0.15844727,-0.13781738,0.0770874,0.011787415,0.09875488,0.06616211,0.01928711,0.026016235,-0.015548706,0.07952881,-0.10345459,-0.038635254,0.022247314,0.16503906,-0.070007324,-0.09881592,-0.051605225,0.08880615,-0.021530151,0.121276855,-0.17150879,0.103393555,0.0947876,-0.12988281,0.0140686035,0.111328125,0.008049011,0.091552734,0.2175293,0.02508545,-0.025680542,-0.070617676,0.05935669,-0.01802063,-0.01637268,-0.009643555,0.059509277,-0.09765625,-0.14013672,-0.22290039,0.109802246,0.0067596436,0.13830566,-0.0008201599,-0.067993164,0.043762207,-0.0070152283,-0.114868164,-0.08105469,0.16186523,0.032470703,0.038146973,-0.02532959,-0.06317139,0.08166504,-0.0095825195,-0.06951904,-0.012283325,-0.08294678,0.017410278,0.10345459,-0.07659912,0.13085938,-0.061157227,0.014053345,-0.07659912,-0.020355225,0.0043411255,-0.03982544,-0.06439209,-0.06210327,-0.07519531,-0.14379883,-0.024093628,0.036743164,0.08319092,0.059265137,0.22509766,0.029190063,-0.041809082,0.17138672,-0.095947266,0.08868408,-0.08746338,0.032440186,-0.18029785,0.08239746,-0.01449585,-0.08862305,0.15368652,0.070129395,0.004196167,-0.06829834,-0.0039711,-0.015014648,0.06640625,0.07312012,-0.061157227,-0.050323486,-0.048736572]');
INSERT INTO recsys.movie_vectors_c81e728d_dc8b2c69 VALUES (2, '[-0.115356445,-0.050598145,-0.007904053,0.05908203,0.11291504,-0.0690918,0.04711914,-0.037994385,0.17749023,-0.0041656494,0.042938232,-0.080078125,-0.06933594,0.017242432,-0.032836914,0.030212402,-0.13354492,0.056610107,-0.0769043,0.14733887,-0.024673462,0.093811035,-0.119262695,0.03668213,-0.075927734,-0.041625977,0.0021038055,-0.027114868,0.022598267,0.06390381,0.05581665,-0.0074806213,-0.11657715,-0.06878662,-0.016738892,-0.18139648,0.064331055,-0.020492554,-0.021484375,0.08111572,0.05709839,0.01889038,-0.085632324,0.026550293,0.02960205,-0.075683594,0.0892334,0.043426514,-0.16845703,0.010429382,-0.1081543,0.09716797,0.06903076,-0.09436035,-0.075683594,0.008712769,-0.02041626,0.1303711,0.06335449,-0.024154663,0.04937744,-0.17382812,0.026489258,0.07409668,-0.015304565,-0.06072998,0.04837036,0.16748047,0.01751709,-0.095825195,0.12365723,-0.16064453,0.043029785,-0.04977417,0.079589844,-0.072631836,0.113220215,0.025680542,-0.14770508,-0.16882324,-0.027023315,0.11065674,0.010864258,0.0057411194,-0.02017212,0.06311035,0.03225708,0.023971558,-0.084228516,0.1015625,0.11657715,-0.11126709,0.19677734,0.061767578,-0.04171753,-0.1628418,0.056152344,0.047668457,-0.050933838,-0.15307617,0.09613037,-0.05029297,-0.04034424,0.24328613,0.18200684,0.08154297,-0.03894043,0.055541992,-0.19506836,0.009109497,-0.064941406,-0.10992432,-0.13537598,0.044891357,0.007637024,0.013656616,0.072021484,-0.07232666,-0.105651855,-0.15185547,-0.028656006,0.06500244,-0.012779236,0.05480957,-0.10101318,-0.040100098,-0.06549072,-0.10675049]');
INSERT INTO recsys.movie_vectors_c81e728d_dc8b2c69 VALUES (3, '[0.15966797,0.07318115,-0.06542969,-0.0657959,-0.00491333,-0.12384033,0.03744507,-0.11114502,-0.031829834,-0.088012695,-0.04119873,-0.11431885,-0.13513184,-0.08300781,-0.058410645,-0.02532959,0.005924225,0.13110352,0.06976318,-0.021728516,0.062347412,-0.059173584,0.12438965,0.047180176,-0.11645508,0.06488037,0.07006836,-0.23071289,-0.06427002,-0.04071045,-0.16564941,-0.091674805,-0.08148193,0.043548584,0.025802612,0.22558594,-0.03387451,0.09906006,0.0067710876,0.023269653,-0.099609375,-0.16418457,-0.06591797,0.06549072,0.13598633,0.051879883,0.042785645,-0.072021484,0.13183594,0.11541748,-0.04559326,-0.003982544,-0.08557129,0.12597656,0.03491211,-0.008163452,0.034942627,0.037841797,-0.035339355,-0.10662842,-0.11029053,-0.14929199,0.039611816,0.19055176,-0.14587402,0.011878967,0.035308838,-0.08459473,0.017562866,-0.09423828,0.10308838,-0.05102539,0.008636475,0.058776855,-0.03692627,-0.1538086,-0.04562378,0.06555176,-0.007259369,0.019729614,-0.09277344,0.012298584,0.062561035,0.003129959,0.16381836,-0.017852783,-0.089416504,-0.13891602,0.09893799,-0.0050697327,0.08691406,0.03930664,0.13952637,0.10876465,-0.032440186,0.023529053,0.09320068,-0.10614014,0.12463379,0.10412598,0.08441162,-0.01725769,0.0259552,-0.095947266,0.00497818,-0.050445557,0.007434845,-0.04248047,0.024368286,0.10131836,-0.11248779,0.07946777,-0.17102051,-0.18566895,-0.010253906,0.00057792664,0.038024902,-0.14147949,-0.0051498413,0.010864258,0.107788086,-0.008918762,0.045440674,-0.08392334,-0.016113281,-0.038269043,0.060394287,-0.0848999]');
INSERT INTO recsys.movie_vectors_eccbc87e_cdb84cdb VALUES (1, '[0.16760254,-0.20996094,0.034332275,-0.04663086,-0.03717041,-0.017715454,-0.16589355,-0.019058228,-0.07104492,0.27294922,0.018554688,-0.028961182,-0.023101807,-0.054870605,-0.08666992,-0.032104492,0.0395813,-0.019592285,0.07867432,-0.016418457,0.0019931793,0.12695312,0.044769287,-0.041503906,-0.015022278,0.044403076,0.15893555,-0.022155762,-0.020004272,0.082336426,-0.07281494,-0.023956299,0.072509766,0.047668457,0.0075187683,0.05505371,-0.2322998,0.08392334,-0.07885742,-0.13708496,0.022705078,0.057556152,-0.03652954,-0.08843994,0.0021457672,-0.004333496,0.115478516,0.061401367,0.015914917,0.091308594,-0.01687622,-0.076049805,0.047973633,0.047851562,-0.017654419,-0.064331055,0.018829346,-0.20483398,0.05670166,0.040374756,-0.13464355,0.005039215,-0.07922363,0.062194824,-0.16711426,-0.07513428,0.058288574,0.0949707,-0.1772461,-0.040924072,0.026947021,-0.050048828,0.13061523,-0.097839355,0.029129028,-0.086120605,0.115478516,-0.0017786026,-0.030578613,-0.14111328,0.1381836,0.061828613,0.06188965,0.093444824,0.028686523,-0.052520752,-0.06573486,-0.06573486,0.11254883,-0.11999512,-0.048980713,-0.026382446,0.018447876,0.04727173,-0.1026001,-0.14208984,-0.00036263466,0.09967041,0.062194824,0.017715454,-0.026046753,0.024093628,-0.019989014,0.06713867,-0.06524658,0.011024475,-0.009101868,0.044647217,0.018447876,0.20947266,0.12310791,0.122924805,-0.16748047,-0.027954102,-0.049987793,0.043762207,-0.18725586,0.09649658,0.087646484,-0.106933594,-0.0803833,-0.0657959,0.0035572052,0.052642822,0.16821289,-0.016220093,0.06304932,0.012763977]');
INSERT INTO recsys.movie_vectors_eccbc87e_cdb84cdb VALUES (2, '[0.16357422,0.06903076,0.12719727,-0.10021973,-0.017868042,-0.075683594,0.13989258,0.061157227,-0.028366089,-0.042053223,0.045074463,-0.06524658,-0.08654785,0.04473877,0.2290039,-0.022888184,-0.05166626,-0.10888672,-0.12414551,0.048797607,0.07910156,0.0008530617,0.030914307,0.0107803345,0.012893677,-0.1418457,-0.04260254,0.010368347,-0.07281494,-0.044281006,-0.076171875,-0.03100586,0.0793457,-0.03781128,-0.014305115,0.075683594,0.059936523,0.15759277,-0.19433594,0.07965088,-0.044830322,0.012519836,0.07788086,0.10070801,0.09661865,0.014419556,0.1496582,-0.026306152,-0.0131073,0.07434082,-0.05126953,0.20092773,0.0947876,0.20227051,-0.0024719238,-0.035614014,0.015533447,0.06829834,-0.054626465,0.035308838,-0.0015621185,0.15026855,-0.06161499,0.09729004,-0.05987549,-0.08929443,-0.06604004,-0.11065674,0.01360321,0.09588623,0.015274048,0.058044434,0.1517334,0.025100708,0.0181427,-0.02557373,-0.14953613,0.070617676,-0.16333008,0.060668945,-0.0013313293,0.10473633,-0.00630188,-0.076538086,0.03326416,-0.052093506,-0.016830444,0.0038928986,-0.012512207,-0.017547607,-0.07739258,-0.017578125,-0.19885254,-0.014625549,-0.11138916,0.10412598,0.11804199,-0.18139648,0.013473511,-0.011749268,-0.09729004,0.049438477,-0.042938232,-0.16430664,-0.024795532,-0.013786316,0.009895325,-0.11450195,0.057250977,0.068359375,-0.10650635,-0.06124878,-0.0074691772,-0.052612305,0.16210938,0.019378662,-0.093933105,-0.07330322,-0.005344391,0.21350098,-0.016571045,0.01184845,0.047790527,-0.003730774,0.21203613,-0.04940796,0.06921387,0.014915466]');
INSERT INTO recsys.movie_vectors_eccbc87e_cdb84cdb VALUES (3, '[0.05429077,-0.10284424,0.15454102,-0.010620117,0.002986908,-0.081726074,-0.06378174,0.049316406,0.086242676,0.06585693,0.105651855,0.062438965,0.0024871826,0.07312012,0.051879883,-0.0087890625,0.06347656,0.11236572,0.020507812,-0.03112793,0.062805176,0.1661377,-0.0184021,-0.008071899,-0.011924744,0.10687256,-0.16052246,0.031982422,0.10418701,-0.07110596,0.13012695,0.046783447,-0.047973633,0.017837524,-0.13415527,-0.049438477,0.15966797,-0.078125,0.16125488,-0.007129669,0.08691406,0.0038375854,-0.19592285,-0.050048828,0.016586304,-0.10058594,-0.11779785,0.03201294,-0.056762695,-0.14819336,-0.059783936,0.07525635,-0.041412354,0.081726074,0.13354492,0.0028419495,-0.09875488,-0.11376953,-0.0022945404,0.07702637,0.023513794,0.047821045,-0.038757324,0.026260376,-0.04119873,-0.028457642,-0.112976074,-0.13745117,-0.042114258,-0.09680176,-0.08380127,0.058654785,-0.009361267,0.25463867,0.08099365,-0.05532837,0.067993164,0.031188965,-0.059936523,0.09637451,-0.06774902,-0.26733398,0.06939697,-0.053955078,0.12988281,-0.056793213,-0.103271484,0.13537598,-0.09399414,0.01777649,0.12670898,0.010009766,-0.007041931,0.00894928,0.07336426,-0.070495605,0.053375244,0.050445557,0.20385742,-0.029418945,-0.079956055,0.064331055,-0.034698486,0.025268555,0.01158905,0.10211182,-0.057403564,-0.00806427,-0.22302246,-0.077819824,0.13427734,-0.059570312,-0.061309814,-0.10644531,0.050689697,0.015556335,-0.103759766,0.05834961,0.022735596,0.06591797,-0.05606079,0.15185547,0.035827637,-0.010215759,-0.04534912,-0.021392822,0.07507324,-0.023513794]');
INSERT INTO recsys.release_moves VALUES ('new', 'building');
INSERT INTO recsys.release_moves VALUES ('building', 'candidate');
INSERT INTO recsys.release_moves VALUES ('building', 'abandoned');
INSERT INTO recsys.release_moves VALUES ('candidate', 'abandoned');
INSERT INTO recsys.release_moves VALUES ('candidate', 'rejected');
INSERT INTO recsys.release_moves VALUES ('candidate', 'champion');
INSERT INTO recsys.release_moves VALUES ('rejected', 'candidate');
INSERT INTO recsys.release_moves VALUES ('rejected', 'building');
INSERT INTO recsys.release_moves VALUES ('rejected', 'retiring');
INSERT INTO recsys.release_moves VALUES ('champion', 'rolled_back');
INSERT INTO recsys.release_moves VALUES ('champion', 'superseded');
INSERT INTO recsys.release_moves VALUES ('superseded', 'champion');
INSERT INTO recsys.release_moves VALUES ('superseded', 'retiring');
INSERT INTO recsys.release_moves VALUES ('rolled_back', 'champion');
INSERT INTO recsys.release_moves VALUES ('rolled_back', 'retiring');
INSERT INTO recsys.release_moves VALUES ('abandoned', 'building');
INSERT INTO recsys.release_moves VALUES ('abandoned', 'retiring');
INSERT INTO recsys.release_moves VALUES ('retiring', 'retired');
INSERT INTO recsys.release_moves VALUES ('retired', 'building');
INSERT INTO recsys.releases VALUES ('c81e728d-dc8b2c69', 'c81e728d9d4c2f636f067f89cc14862c', 'dc8b2c69200eaeb4b8a87ab21fc5bba879ff9d27b10e7d6224f298ea40b69713', '{"settings": {"number": 2}, "dataset_md5": "c81e728d9d4c2f636f067f89cc14862c", "trainer_digest": "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}', 'champion', 'run-2', 'nnnnnnnn', '{"dims": {"towers": 64, "movie_vectors": 128}, "build": {"settings": {"number": 2}, "dataset_md5": "c81e728d9d4c2f636f067f89cc14862c", "trainer_digest": "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}, "lineage": {}, "metrics": {"model": {"mae": 0.65, "mrr": 0.3, "rmse": 0.85, "ndcg@10": 0.15, "novelty": 9.0, "coverage": 0.2, "recall@10": 0.09, "recall@20": 0.15, "popularity_bias": 0.3}, "slices": {"genre": {}, "user_activity": {"few": {"mae": 0.66, "rmse": 0.86, "rows": 4909, "users": 305, "ndcg@10": 0.14, "baselines": {"bias": {"rmse": 0.9}, "popularity": {"ndcg@10": 0.1}}, "recall@10": 0.08}, "many": {"mae": 0.66, "rmse": 0.86, "rows": 4909, "users": 305, "ndcg@10": 0.14, "baselines": {"bias": {"rmse": 0.9}, "popularity": {"ndcg@10": 0.1}}, "recall@10": 0.08}}}, "holdout": {"rows": 9818, "users": 610}, "skipped": {"item_knn": "it would take too long"}, "champion": null, "baselines": {"bias": {"mae": 0.69, "rmse": 0.9}, "item_knn": null, "movie_mean": {"mae": 0.79, "rmse": 1.0}, "popularity": {"mrr": 0.2, "ndcg@10": 0.1, "coverage": 0.01, "recall@10": 0.04, "recall@20": 0.07}, "global_mean": {"mae": 0.84, "rmse": 1.07}}, "confidence": {"level": 0.95, "model": {"rmse": [0.83, 0.87], "ndcg@10": [0.14, 0.16]}, "resamples": 1000, "differences": {"rmse - bias": [-0.06, -0.04], "ndcg@10 - popularity": [0.03, 0.07]}}, "calibration": [{"rows": 300, "stars": 1.0, "mean_prediction": 2.6}, {"rows": 3000, "stars": 3.0, "mean_prediction": 3.3}, {"rows": 1500, "stars": 5.0, "mean_prediction": 4.1}]}, "serving": {"method": "refit", "shift_rmse": 0.1, "interactions": 10}, "artifacts": [{"key": "releases/c81e728d-dc8b2c69/golden_predictions.json", "name": "golden_predictions.json", "size": 25, "sha256": "a25e57a50d9f48c2fe01b6054ca29293cadf8322810a2a9daace7202d0721f3d"}, {"key": "releases/c81e728d-dc8b2c69/holdout_predictions.parquet", "name": "holdout_predictions.parquet", "size": 29, "sha256": "fdc1291412c0f4fc5c2d024d0098a32e4bc1780a2ace68fb3dbda926636d9890"}, {"key": "releases/c81e728d-dc8b2c69/holdout_recommendations.parquet", "name": "holdout_recommendations.parquet", "size": 33, "sha256": "4996120821ff83bb0aa1e9d96d99d28c9102d1f45f959818ed3a6fe5078b3c2d"}, {"key": "releases/c81e728d-dc8b2c69/metrics.json", "name": "metrics.json", "size": 14, "sha256": "945b82eada9a40a5a6737a16c4b6ab4f63b14a03a691af2ed92e515a9cfd0f7e"}, {"key": "releases/c81e728d-dc8b2c69/model.keras", "name": "model.keras", "size": 24, "sha256": "4434bdaf6ff1ed43934dd0226eac825b62e9a63aacb5a7e0cfe3f25466b253c3"}, {"key": "releases/c81e728d-dc8b2c69/towers/movie_towers.parquet", "name": "towers/movie_towers.parquet", "size": 29, "sha256": "fbf69e1fc17b754457fe2af368e1440887adc2f5307dbf0721d728e4bcd21035"}, {"key": "releases/c81e728d-dc8b2c69/towers/user_towers.parquet", "name": "towers/user_towers.parquet", "size": 28, "sha256": "23b1d5bbc7f3cdf1d81444935d4d35cb121aaf1ae476a0d671a868b85e9f3d2f"}, {"key": "releases/c81e728d-dc8b2c69/training_history.json", "name": "training_history.json", "size": 23, "sha256": "8e1a43aebe21e8525876d9491b7be6d7eba5ef73cac4f2078a4d1819dbf91a0d"}], "run_nonce": "nnnnnnnn", "created_at": "2026-01-01T00:00:00Z", "release_id": "c81e728d-dc8b2c69", "fingerprint": "dc8b2c69200eaeb4b8a87ab21fc5bba879ff9d27b10e7d6224f298ea40b69713", "manifest_schema": 1}', '1e73e836d32f9f38cc598ed1e158e01b1e5c2315981eff9867c4e01faae164f3', '{"user_towers": {"rows": 2, "digest": "532f25d6aed97408d9d59c8b7785abc008f1a1f02e107ad0fc9c3bf5793f17aa"}, "movie_towers": {"rows": 3, "digest": "3bfeef757f2f55533819d2f91870580e7bde5db4d208e5470fc01427348e4776"}, "movie_vectors": {"rows": 3, "digest": "e151e26c6c3183c986cddc62c97092d7a4919d7620bc5f7c01c6e7b8eb6ab8c9"}}', '2026-11-01 08:49:31.464265+00', '2026-11-01 08:49:34.721719+00', '2026-11-01 08:49:32.249684+00', '2026-11-01 08:49:34.72163+00');
INSERT INTO recsys.releases VALUES ('c4ca4238-7215fe2a', 'c4ca4238a0b923820dcc509a6f75849b', '7215fe2a79e46fa4cf8ff7a3ce51857b8848e8cda1f621d2209df25669236dbd', '{"settings": {"number": 1}, "dataset_md5": "c4ca4238a0b923820dcc509a6f75849b", "trainer_digest": "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}', 'superseded', 'run-1', 'nnnnnnnn', '{"dims": {"towers": 64, "movie_vectors": 128}, "build": {"settings": {"number": 1}, "dataset_md5": "c4ca4238a0b923820dcc509a6f75849b", "trainer_digest": "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}, "lineage": {}, "metrics": {"model": {"mae": 0.65, "mrr": 0.3, "rmse": 0.85, "ndcg@10": 0.15, "novelty": 9.0, "coverage": 0.2, "recall@10": 0.09, "recall@20": 0.15, "popularity_bias": 0.3}, "slices": {"genre": {}, "user_activity": {"few": {"mae": 0.66, "rmse": 0.86, "rows": 4909, "users": 305, "ndcg@10": 0.14, "baselines": {"bias": {"rmse": 0.9}, "popularity": {"ndcg@10": 0.1}}, "recall@10": 0.08}, "many": {"mae": 0.66, "rmse": 0.86, "rows": 4909, "users": 305, "ndcg@10": 0.14, "baselines": {"bias": {"rmse": 0.9}, "popularity": {"ndcg@10": 0.1}}, "recall@10": 0.08}}}, "holdout": {"rows": 9818, "users": 610}, "skipped": {"item_knn": "it would take too long"}, "champion": null, "baselines": {"bias": {"mae": 0.69, "rmse": 0.9}, "item_knn": null, "movie_mean": {"mae": 0.79, "rmse": 1.0}, "popularity": {"mrr": 0.2, "ndcg@10": 0.1, "coverage": 0.01, "recall@10": 0.04, "recall@20": 0.07}, "global_mean": {"mae": 0.84, "rmse": 1.07}}, "confidence": {"level": 0.95, "model": {"rmse": [0.83, 0.87], "ndcg@10": [0.14, 0.16]}, "resamples": 1000, "differences": {"rmse - bias": [-0.06, -0.04], "ndcg@10 - popularity": [0.03, 0.07]}}, "calibration": [{"rows": 300, "stars": 1.0, "mean_prediction": 2.6}, {"rows": 3000, "stars": 3.0, "mean_prediction": 3.3}, {"rows": 1500, "stars": 5.0, "mean_prediction": 4.1}]}, "serving": {"method": "refit", "shift_rmse": 0.1, "interactions": 10}, "artifacts": [{"key": "releases/c4ca4238-7215fe2a/golden_predictions.json", "name": "golden_predictions.json", "size": 25, "sha256": "b17320e2563dc2d5e527586d5e66f9d9bada443531607aae969ff046bf3d1cb9"}, {"key": "releases/c4ca4238-7215fe2a/holdout_predictions.parquet", "name": "holdout_predictions.parquet", "size": 29, "sha256": "b1dc00ab49923ac9f1c6ada2c228f55c606ac8d9210c5dcd7b9bf1cfb840c09d"}, {"key": "releases/c4ca4238-7215fe2a/holdout_recommendations.parquet", "name": "holdout_recommendations.parquet", "size": 33, "sha256": "415ac8ad2f18008eeea5234ac70778c15bec59fed0e56cd1ae02b1ab07bc7224"}, {"key": "releases/c4ca4238-7215fe2a/metrics.json", "name": "metrics.json", "size": 14, "sha256": "162acd4d1caee34f2ca7eb1cde04a335ef6ff4341c0ee833acc596672ad3858e"}, {"key": "releases/c4ca4238-7215fe2a/model.keras", "name": "model.keras", "size": 24, "sha256": "db69e3802835642c7d81b4475b05c6a5fee8e4859b885dba4d032d4035f3cb00"}, {"key": "releases/c4ca4238-7215fe2a/towers/movie_towers.parquet", "name": "towers/movie_towers.parquet", "size": 29, "sha256": "16c52853a401639b8bfedf90476ea104979cd4237d3c4465eb2f43d5e8db95b4"}, {"key": "releases/c4ca4238-7215fe2a/towers/user_towers.parquet", "name": "towers/user_towers.parquet", "size": 28, "sha256": "dcb9e41cea6c0a23c9b5dc816c852937fad965f19b14e3aedb05b017c80c4f01"}, {"key": "releases/c4ca4238-7215fe2a/training_history.json", "name": "training_history.json", "size": 23, "sha256": "bc31c3679b603b97538bd37ff34b45e709b8c9ec3f5448e8a25a7450fa1196a2"}], "run_nonce": "nnnnnnnn", "created_at": "2026-01-01T00:00:00Z", "release_id": "c4ca4238-7215fe2a", "fingerprint": "7215fe2a79e46fa4cf8ff7a3ce51857b8848e8cda1f621d2209df25669236dbd", "manifest_schema": 1}', 'c0f6daa68c851704e3980debb415cea81d252e0d631954c0dc18121b29a51fe6', '{"user_towers": {"rows": 2, "digest": "80d989784099d80a3aac8f28c5fceb7682799a11cfe826a15972a213f7685c97"}, "movie_towers": {"rows": 3, "digest": "74c5e680e691fbb55904094ce3f2805792b925892d15ada586d8915ea6b5eee3"}, "movie_vectors": {"rows": 3, "digest": "f4d91962a729ff191f152cdd4a4f15ef012e71805b4f4907c636a01aca45ba8e"}}', '2026-11-01 08:49:24.184969+00', '2026-11-01 08:49:34.710508+00', '2026-11-01 08:49:29.007959+00', '2026-11-01 08:49:33.841396+00');
INSERT INTO recsys.releases VALUES ('eccbc87e-cdb84cdb', 'eccbc87e4b5ce2fe28308fd9f2a7baf3', 'cdb84cdbb02a3c15558ba9d6bca7f5ce9cc4730de109f3ed09daafa25d1134fd', '{"settings": {"number": 3}, "dataset_md5": "eccbc87e4b5ce2fe28308fd9f2a7baf3", "trainer_digest": "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}', 'rejected', 'run-3', 'nnnnnnnn', '{"dims": {"towers": 64, "movie_vectors": 128}, "build": {"settings": {"number": 3}, "dataset_md5": "eccbc87e4b5ce2fe28308fd9f2a7baf3", "trainer_digest": "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}, "lineage": {}, "metrics": {"model": {"mae": 0.65, "mrr": 0.3, "rmse": 0.85, "ndcg@10": 0.15, "novelty": 9.0, "coverage": 0.2, "recall@10": 0.09, "recall@20": 0.15, "popularity_bias": 0.3}, "slices": {"genre": {}, "user_activity": {"few": {"mae": 0.66, "rmse": 0.86, "rows": 4909, "users": 305, "ndcg@10": 0.14, "baselines": {"bias": {"rmse": 0.9}, "popularity": {"ndcg@10": 0.1}}, "recall@10": 0.08}, "many": {"mae": 0.66, "rmse": 0.86, "rows": 4909, "users": 305, "ndcg@10": 0.14, "baselines": {"bias": {"rmse": 0.9}, "popularity": {"ndcg@10": 0.1}}, "recall@10": 0.08}}}, "holdout": {"rows": 9818, "users": 610}, "skipped": {"item_knn": "it would take too long"}, "champion": null, "baselines": {"bias": {"mae": 0.69, "rmse": 0.9}, "item_knn": null, "movie_mean": {"mae": 0.79, "rmse": 1.0}, "popularity": {"mrr": 0.2, "ndcg@10": 0.1, "coverage": 0.01, "recall@10": 0.04, "recall@20": 0.07}, "global_mean": {"mae": 0.84, "rmse": 1.07}}, "confidence": {"level": 0.95, "model": {"rmse": [0.83, 0.87], "ndcg@10": [0.14, 0.16]}, "resamples": 1000, "differences": {"rmse - bias": [-0.06, -0.04], "ndcg@10 - popularity": [0.03, 0.07]}}, "calibration": [{"rows": 300, "stars": 1.0, "mean_prediction": 2.6}, {"rows": 3000, "stars": 3.0, "mean_prediction": 3.3}, {"rows": 1500, "stars": 5.0, "mean_prediction": 4.1}]}, "serving": {"method": "refit", "shift_rmse": 0.1, "interactions": 10}, "artifacts": [{"key": "releases/eccbc87e-cdb84cdb/golden_predictions.json", "name": "golden_predictions.json", "size": 25, "sha256": "cc5950be5899bb7c9c9480af37cc902de286f45fde97208a47a56502b47c2dce"}, {"key": "releases/eccbc87e-cdb84cdb/holdout_predictions.parquet", "name": "holdout_predictions.parquet", "size": 29, "sha256": "e7c1ab2c1d560509dacbc72ede503692c4c64b4b241794e68b61229ef0f52127"}, {"key": "releases/eccbc87e-cdb84cdb/holdout_recommendations.parquet", "name": "holdout_recommendations.parquet", "size": 33, "sha256": "3e5fde360fd277c05f4ce9f502a107cb735d11cf9a6fa0e9a6f37dc0a7e74474"}, {"key": "releases/eccbc87e-cdb84cdb/metrics.json", "name": "metrics.json", "size": 14, "sha256": "a0b15161ae13dfa7a4fb28e13ddc6695658ff20e3e831c46b6c0073ade416315"}, {"key": "releases/eccbc87e-cdb84cdb/model.keras", "name": "model.keras", "size": 24, "sha256": "038fd01bf88ec1f1348d6606fd0305350732ef16312a19430aaa25b2db4a1a0e"}, {"key": "releases/eccbc87e-cdb84cdb/towers/movie_towers.parquet", "name": "towers/movie_towers.parquet", "size": 29, "sha256": "e1d57e9fd7a583aeeee499215c47b79df56c309f24e5740415e1b7eff3d186c2"}, {"key": "releases/eccbc87e-cdb84cdb/towers/user_towers.parquet", "name": "towers/user_towers.parquet", "size": 28, "sha256": "312316c7a6d7efcf6b9d0277a20f005f890bfaea0f8c874a1ae62315338c6494"}, {"key": "releases/eccbc87e-cdb84cdb/training_history.json", "name": "training_history.json", "size": 23, "sha256": "c88e53bc3f8ea95a82459a7b04b7ea54e69ce0bae4b71809f71086a09ce6abaa"}], "run_nonce": "nnnnnnnn", "created_at": "2026-01-01T00:00:00Z", "release_id": "eccbc87e-cdb84cdb", "fingerprint": "cdb84cdbb02a3c15558ba9d6bca7f5ce9cc4730de109f3ed09daafa25d1134fd", "manifest_schema": 1}', '5d86e0f2f432e8b3e6af74e5491e5aad75b2227d31d423b0ff473e078c5a462d', '{"user_towers": {"rows": 2, "digest": "b8b93e99eeadcefc40759ad4768fb69938723c1e4b94824ae0a420365d6a5668"}, "movie_towers": {"rows": 3, "digest": "7f6294e449704800bbd8749a1cce66254c724736dc6cfe248a7422e668e2d987"}, "movie_vectors": {"rows": 3, "digest": "3e81c86a47fc2f90484a300a09e5253c37718dc8a0f58ca6d481c08a2c5b3562"}}', '2026-11-01 08:49:35.047142+00', '2026-11-01 08:49:35.828565+00', '2026-11-01 08:49:35.694025+00', NULL);
INSERT INTO recsys.user_towers_c4ca4238_7215fe2a VALUES (1, '[-0.9033203,-0.18493652,-0.09667969,1.1386719,0.57958984,-0.7519531,0.6821289,0.7705078,-0.1116333,-0.25756836,-0.19384766,-1.6953125,0.1887207,0.23461914,-0.86572266,0.7426758,-1.3730469,-0.5517578,-0.47509766,1.9873047,-1.5996094,0.5625,0.94189453,0.37768555,1.1816406,-1.0029297,-2.2792969,0.76660156,-1.1962891,-0.32641602,-1.1787109,1.0527344,0.8652344,-0.72021484,0.9033203,0.121276855,-0.1394043,0.057403564,-0.20275879,0.6152344,0.31030273,-0.34936523,1.0058594,-0.6113281,0.28686523,0.42211914,1.4785156,-0.5053711,1.7431641,0.17614746,-0.19396973,-0.6723633,0.5864258,0.048950195,-1.1035156,-1.1279297,-0.55566406,-0.67578125,1.0898438,1.3759766,0.86865234,0.35791016,-0.42822266,0.054473877]', '{1}');
INSERT INTO recsys.user_towers_c4ca4238_7215fe2a VALUES (2, '[0.8847656,2.1308594,0.91308594,-0.28051758,0.038024902,-0.48266602,-0.78222656,-0.1842041,0.19555664,1.8359375,0.05203247,1.3574219,1.7675781,0.07879639,1.6074219,0.71484375,-0.41748047,0.26513672,0.022872925,-0.2322998,-0.19873047,0.14416504,0.43408203,-0.8847656,-0.009384155,-1.5224609,0.2607422,0.62353516,0.16394043,0.28588867,0.58984375,-0.66503906,-0.23901367,0.5107422,1.0019531,0.39501953,2.5527344,-0.09136963,0.9995117,1.2666016,-0.13378906,-0.8203125,-1.1826172,0.16223145,1.1103516,0.27172852,0.17285156,-0.3791504,0.56103516,-2.1367188,0.23242188,0.028121948,-1.3701172,2.1757812,-1.3876953,-1.0771484,-1.2011719,1.1103516,-0.8881836,0.66845703,0.58740234,0.25976562,-1.3076172,-0.6123047]', '{1}');
INSERT INTO recsys.user_towers_c81e728d_dc8b2c69 VALUES (1, '[-0.83447266,0.5761719,1.7890625,0.3828125,0.3034668,-0.3461914,1.0888672,0.54003906,1.7333984,0.33081055,-0.94873047,-0.5698242,-0.9873047,-1.2509766,1.2636719,0.8071289,-1.2382812,1.78125,0.24450684,-0.95703125,0.38623047,-0.06921387,-0.77246094,-1.9433594,0.036712646,0.2919922,-2.578125,0.5546875,0.6176758,-0.46972656,0.11212158,-0.28076172,-0.83691406,-0.36010742,1.3515625,-1.4501953,0.23718262,0.18408203,-0.70751953,-0.4404297,-1.4003906,-0.8520508,0.014953613,0.32666016,-0.8984375,3.0566406,-0.5703125,0.12731934,-0.23059082,-0.3996582,1.3007812,-0.47875977,1.3339844,1.1416016,-1.0458984,1.0351562,-0.6503906,2.7363281,-0.3857422,-0.94091797,-1.9111328,-1.2929688,-0.5805664,-0.9980469]', '{1}');
INSERT INTO recsys.user_towers_c81e728d_dc8b2c69 VALUES (2, '[-1.2285156,-0.6953125,-0.20654297,1.4492188,-1.703125,-0.5517578,-0.95410156,-1.515625,-1.2666016,-0.9057617,0.71728516,-0.19384766,-0.53808594,0.6113281,0.28076172,-0.22338867,0.38427734,-0.828125,0.6274414,0.46704102,-0.41235352,-1.2197266,1.5205078,0.094177246,3.0507812,-0.6533203,0.85302734,-0.43432617,0.2536621,0.8334961,-0.7993164,-0.100097656,0.16088867,0.113464355,0.5966797,1.0253906,0.8334961,0.26293945,-0.3474121,-1.1298828,-0.73535156,-0.5283203,0.6826172,-0.3635254,-1.2421875,0.62646484,-0.80322266,-0.765625,-0.22631836,0.47314453,-2.4140625,-1.1210938,0.17553711,-0.3642578,-0.8647461,-0.5415039,1.3857422,-0.45581055,0.7128906,0.7919922,-0.4501953,0.44335938,-0.4501953,-0.61035156]', '{1}');
INSERT INTO recsys.user_towers_eccbc87e_cdb84cdb VALUES (1, '[1.078125,0.5805664,1.3466797,0.81396484,-0.062927246,-1.9091797,0.29858398,0.7890625,0.1628418,0.5566406,-0.4716797,-0.3803711,-0.9423828,1.3623047,0.15844727,-0.49243164,-1.3320312,-0.15332031,1.4423828,0.46191406,-0.7246094,1.4296875,1.4287109,0.98095703,0.7885742,1.1552734,0.54345703,0.77490234,-0.77978516,1.5,0.23120117,2.0234375,-2.0429688,0.7055664,0.9814453,-0.34301758,0.45239258,0.74853516,0.57714844,-0.5395508,-0.14196777,1.0185547,1.2773438,0.09899902,0.07702637,0.20043945,1.0380859,-1.0537109,-1.3291016,0.12432861,-1.1064453,-0.58691406,0.08630371,0.48242188,-1.0722656,0.8017578,-1.7734375,0.54541016,-1.578125,-1.2753906,0.64208984,-0.40625,-0.79541016,-0.44482422]', '{1}');
INSERT INTO recsys.user_towers_eccbc87e_cdb84cdb VALUES (2, '[0.4650879,-0.05404663,-0.029388428,1.0546875,-0.7163086,-0.47192383,-0.52246094,1.1689453,0.99121094,1.2871094,-0.03375244,-0.15686035,0.85253906,-0.39453125,0.8305664,0.7241211,-0.6982422,-0.08319092,-0.119262695,1.7333984,2.5878906,-0.09991455,0.014060974,-2.28125,0.21154785,-0.0070343018,-1.0732422,0.78564453,-1.5654297,-0.21484375,0.13891602,-1.2490234,0.8569336,1.0556641,-1.3867188,-1.4082031,0.6020508,-0.03050232,-1.2109375,-0.29516602,-0.107543945,-0.1430664,0.8276367,0.38427734,1.7695312,1.3740234,0.67871094,1.0771484,1.3242188,0.7060547,-1.2255859,0.859375,0.072265625,1.6191406,0.093444824,0.5258789,0.32958984,1.6816406,0.17712402,-0.26953125,0.30908203,-0.43945312,0.1619873,-0.007472992]', '{1}');
SELECT pg_catalog.setval('recsys.decisions_id_seq', 3, true);
SELECT pg_catalog.setval('recsys.history_id_seq', 15, true);
SELECT pg_catalog.setval('recsys.internal_hash_id_seq', 1, true);
SELECT pg_catalog.setval('recsys.journal_id_seq', 4, true);
ALTER TABLE ONLY recsys.alerts
    ADD CONSTRAINT alerts_pkey PRIMARY KEY (event, channel);
ALTER TABLE ONLY recsys.decisions
    ADD CONSTRAINT decisions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY recsys.history
    ADD CONSTRAINT history_pkey PRIMARY KEY (id);
ALTER TABLE ONLY recsys.internal_hash
    ADD CONSTRAINT internal_hash_pkey PRIMARY KEY (id);
ALTER TABLE ONLY recsys.internal_hash
    ADD CONSTRAINT internal_hash_run_id_key UNIQUE (run_id);
ALTER TABLE ONLY recsys.journal
    ADD CONSTRAINT journal_pkey PRIMARY KEY (id);
ALTER TABLE ONLY recsys.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (number);
ALTER TABLE ONLY recsys.movie_towers_c4ca4238_7215fe2a
    ADD CONSTRAINT movie_towers_c4ca4238_7215fe2a_pkey PRIMARY KEY (movieid);
ALTER TABLE ONLY recsys.movie_towers_c81e728d_dc8b2c69
    ADD CONSTRAINT movie_towers_c81e728d_dc8b2c69_pkey PRIMARY KEY (movieid);
ALTER TABLE ONLY recsys.movie_towers_eccbc87e_cdb84cdb
    ADD CONSTRAINT movie_towers_eccbc87e_cdb84cdb_pkey PRIMARY KEY (movieid);
ALTER TABLE ONLY recsys.movie_vectors_c4ca4238_7215fe2a
    ADD CONSTRAINT movie_vectors_c4ca4238_7215fe2a_pkey PRIMARY KEY (movieid);
ALTER TABLE ONLY recsys.movie_vectors_c81e728d_dc8b2c69
    ADD CONSTRAINT movie_vectors_c81e728d_dc8b2c69_pkey PRIMARY KEY (movieid);
ALTER TABLE ONLY recsys.movie_vectors_eccbc87e_cdb84cdb
    ADD CONSTRAINT movie_vectors_eccbc87e_cdb84cdb_pkey PRIMARY KEY (movieid);
ALTER TABLE ONLY recsys.release_moves
    ADD CONSTRAINT release_moves_pkey PRIMARY KEY (from_state, to_state);
ALTER TABLE ONLY recsys.releases
    ADD CONSTRAINT releases_fingerprint_key UNIQUE (fingerprint);
ALTER TABLE ONLY recsys.releases
    ADD CONSTRAINT releases_pkey PRIMARY KEY (release_id);
ALTER TABLE ONLY recsys.user_towers_c4ca4238_7215fe2a
    ADD CONSTRAINT user_towers_c4ca4238_7215fe2a_pkey PRIMARY KEY (userid);
ALTER TABLE ONLY recsys.user_towers_c81e728d_dc8b2c69
    ADD CONSTRAINT user_towers_c81e728d_dc8b2c69_pkey PRIMARY KEY (userid);
ALTER TABLE ONLY recsys.user_towers_eccbc87e_cdb84cdb
    ADD CONSTRAINT user_towers_eccbc87e_cdb84cdb_pkey PRIMARY KEY (userid);
CREATE INDEX decisions_of_release ON recsys.decisions USING btree (release_id, id);
CREATE INDEX history_of_release ON recsys.history USING btree (release_id, id);
CREATE INDEX movie_towers_c4ca4238_7215fe2a_vector_idx ON recsys.movie_towers_c4ca4238_7215fe2a USING hnsw (vector public.halfvec_ip_ops) WITH (m='16', ef_construction='100');
CREATE INDEX movie_towers_c81e728d_dc8b2c69_vector_idx ON recsys.movie_towers_c81e728d_dc8b2c69 USING hnsw (vector public.halfvec_ip_ops) WITH (m='16', ef_construction='100');
CREATE INDEX movie_towers_eccbc87e_cdb84cdb_vector_idx ON recsys.movie_towers_eccbc87e_cdb84cdb USING hnsw (vector public.halfvec_ip_ops) WITH (m='16', ef_construction='100');
CREATE INDEX movie_vectors_c4ca4238_7215fe2a_vector_idx ON recsys.movie_vectors_c4ca4238_7215fe2a USING hnsw (vector public.halfvec_cosine_ops) WITH (m='16', ef_construction='100');
CREATE INDEX movie_vectors_c81e728d_dc8b2c69_vector_idx ON recsys.movie_vectors_c81e728d_dc8b2c69 USING hnsw (vector public.halfvec_cosine_ops) WITH (m='16', ef_construction='100');
CREATE INDEX movie_vectors_eccbc87e_cdb84cdb_vector_idx ON recsys.movie_vectors_eccbc87e_cdb84cdb USING hnsw (vector public.halfvec_cosine_ops) WITH (m='16', ef_construction='100');
CREATE UNIQUE INDEX one_champion ON recsys.releases USING btree ((true)) WHERE (state = 'champion'::text);
CREATE UNIQUE INDEX one_open_journal ON recsys.journal USING btree ((true)) WHERE (closed_at IS NULL);
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON recsys.decisions FOR EACH STATEMENT EXECUTE FUNCTION recsys.refuse_change();
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON recsys.history FOR EACH STATEMENT EXECUTE FUNCTION recsys.refuse_change();
CREATE TRIGGER keep BEFORE DELETE OR TRUNCATE ON recsys.journal FOR EACH STATEMENT EXECUTE FUNCTION recsys.refuse_change();
CREATE TRIGGER keep BEFORE DELETE OR TRUNCATE ON recsys.releases FOR EACH STATEMENT EXECUTE FUNCTION recsys.refuse_change();
CREATE CONSTRAINT TRIGGER keep_a_champion AFTER UPDATE ON recsys.releases DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (((old.state = 'champion'::text) AND (new.state <> 'champion'::text))) EXECUTE FUNCTION recsys.keep_a_champion();
CREATE TRIGGER record_move BEFORE INSERT OR UPDATE ON recsys.releases FOR EACH ROW EXECUTE FUNCTION recsys.record_move();
ALTER TABLE ONLY recsys.decisions
    ADD CONSTRAINT decisions_champion_fkey FOREIGN KEY (champion) REFERENCES recsys.releases(release_id);
ALTER TABLE ONLY recsys.decisions
    ADD CONSTRAINT decisions_release_id_fkey FOREIGN KEY (release_id) REFERENCES recsys.releases(release_id);
ALTER TABLE ONLY recsys.internal_hash
    ADD CONSTRAINT internal_hash_release_id_fkey FOREIGN KEY (release_id) REFERENCES recsys.releases(release_id);
ALTER TABLE ONLY recsys.journal
    ADD CONSTRAINT journal_from_release_fkey FOREIGN KEY (from_release) REFERENCES recsys.releases(release_id);
ALTER TABLE ONLY recsys.journal
    ADD CONSTRAINT journal_to_release_fkey FOREIGN KEY (to_release) REFERENCES recsys.releases(release_id);
GRANT USAGE ON SCHEMA recsys TO recsys_site;
GRANT USAGE ON SCHEMA recsys_live TO recsys_site;
GRANT USAGE ON SCHEMA recsys_views_c4ca4238_7215fe2a TO recsys_site;
GRANT SELECT ON TABLE recsys.current_release TO recsys_site;
GRANT SELECT ON TABLE recsys.movie_towers_c4ca4238_7215fe2a TO recsys_site;
GRANT SELECT ON TABLE recsys.movie_towers_c81e728d_dc8b2c69 TO recsys_site;
GRANT SELECT ON TABLE recsys.movie_vectors_c4ca4238_7215fe2a TO recsys_site;
GRANT SELECT ON TABLE recsys.movie_vectors_c81e728d_dc8b2c69 TO recsys_site;
GRANT SELECT ON TABLE recsys.user_towers_c4ca4238_7215fe2a TO recsys_site;
GRANT SELECT ON TABLE recsys.user_towers_c81e728d_dc8b2c69 TO recsys_site;
GRANT SELECT ON TABLE recsys_live.movie_towers TO recsys_site;
GRANT SELECT ON TABLE recsys_live.movie_vectors TO recsys_site;
GRANT SELECT ON TABLE recsys_live.user_towers TO recsys_site;
GRANT SELECT ON TABLE recsys_views_c4ca4238_7215fe2a.movie_towers TO recsys_site;
GRANT SELECT ON TABLE recsys_views_c4ca4238_7215fe2a.movie_vectors TO recsys_site;
GRANT SELECT ON TABLE recsys_views_c4ca4238_7215fe2a.user_towers TO recsys_site;
