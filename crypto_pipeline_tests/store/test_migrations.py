import time

from crypto_pipeline.store.connecting import connect
from crypto_pipeline.store.migrations import migrate


def test_x(postgres_url):
    t = time.time()
    assert migrate(postgres_url) == []
    print(time.time() - t)


def test_y(postgres_url):
    with connect(postgres_url) as c:
        print(c.execute("select count(*) from pg_class").fetchone())
