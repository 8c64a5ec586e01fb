-- A release records where its features are. Earlier code stored the features of all settings of a
-- dataset below one prefix, and the releases that it made keep null.

alter table recsys.releases add column features_prefix text
    check (features_prefix ~ '^features/[0-9a-f]{32}/([0-9a-f]{16}/)?$');
comment on column recsys.releases.features_prefix is
    'Prefix of the features in the bucket; null in releases of earlier code, whose features are '
    'below features/<dataset_md5>/.';
