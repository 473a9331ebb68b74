"""``why`` answers in one clear line where there is nothing to explain."""

from __future__ import annotations

from crypto_pipeline.market import Instrument
from crypto_pipeline.store import Store
from crypto_pipeline_tests.cli.test_bad_input import Run, run

__all__ = ["run"]


def test_bad_input_and_an_empty_database(run: Run, postgres_url: str) -> None:
    def error_of(*words: str) -> tuple[int, str]:
        code, out, error = run("why", *words, DATABASE_URL=postgres_url)
        assert out == ""
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        return code, error

    assert error_of("BTC-USDT")[0] != 0
    with Store(postgres_url) as store:
        store.instruments.add([Instrument.crypto("BTC-USDT"), Instrument.stock("NVDA")])
    assert "it has no 15m bars yet" in error_of("BTC-USDT")[1]
    assert "its tier is stock, and only large, mid and meme are traded" in error_of("NVDA")[1]
    assert error_of("BTC-USDT", "--strategy", "dcb") == (
        2,
        "error: unknown strategy 'dcb': use one of dca, swing, channel\n",
    )
    assert "is to come" in error_of("BTC-USDT", "--at", "2199-01-01")[1]
    assert error_of("BTC-USDT", "--at", "soon")[0] == 2
    assert "BTX-USDT" in error_of("BTX-USDT")[1]
