#!/bin/sh
# Creates the accounts. The database's image runs this once as superuser, when the volume is empty.
set -eu
psql --no-psqlrc --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<SQL
\\set ON_ERROR_STOP on
\\getenv pipeline_password PIPELINE_DB_PASSWORD
\\getenv site_password SITE_DB_PASSWORD
\\i ${ROLES_FILE:-/opt/recsys/roles.sql}
SQL
