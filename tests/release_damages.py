"""Ways to damage a release, in its objects and in its tables."""

from __future__ import annotations

from recsys.contract import MANIFEST_FILE, MODEL_FILE, release_key, table_name


def damage_model(services, release_id):
    key = release_key(release_id, MODEL_FILE)
    data = bytearray(services.store.get_bytes(key))
    data[7] ^= 1
    services.store.put_bytes(key, bytes(data))


def lose_model(services, release_id):
    services.store.delete([release_key(release_id, MODEL_FILE)])


def damage_manifest(services, release_id):
    key = release_key(release_id, MANIFEST_FILE)
    data = services.store.get_bytes(key).replace(b'"rmse": 0.8', b'"rmse": 0.1')
    services.store.put_bytes(key, data)


def age_manifest(services, release_id):
    key = release_key(release_id, MANIFEST_FILE)
    data = services.store.get_bytes(key)
    services.store.put_bytes(key, data.replace(b'"manifest_schema": 1', b'"manifest_schema": 2'))


def lose_row(services, release_id):
    with services.connect() as conn:
        conn.execute(
            f"delete from recsys.{table_name('movie_vectors', release_id)} where movieid=3"
        )


def lose_table(services, release_id):
    with services.connect() as conn:
        conn.execute(f"drop table recsys.{table_name('movie_towers', release_id)} cascade")
