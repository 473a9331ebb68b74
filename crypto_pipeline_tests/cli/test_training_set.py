"""``training-set``: a file with its manifest, and the same file again.

Guards I11 (docs/invariants.md).
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import polars as pl

from crypto_pipeline.labels.parameters import parameter_sets
from crypto_pipeline.labels.stored.update import bring_up_to_date
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.label_market import START, store_market
from crypto_pipeline_tests.cli.test_bad_input import Run, run

__all__ = ["run"]

SETS = {"loose": {"dca": {"fall": 0.012, "rsi_most": 60, "volume_ratio": 0.5, "spacing": 12}}}
END = START + timedelta(days=20)


def test_a_training_set_is_written_and_written_again(run: Run, postgres_url: str, tmp_path: Path) -> None:
    with Store(postgres_url) as store:
        store_market(store, 20)
        bring_up_to_date(store, Strategy.DCA, parameter_sets(SETS)["loose"][Strategy.DCA], START, END, now=END)
    file = tmp_path / "dca.parquet"
    span = ("--start", "2025-06-02", "--end", "2025-06-22")
    environment = {"DATABASE_URL": postgres_url, "LABEL_PARAMETERS": json.dumps(SETS)}
    code, out, error = run("training-set", "build", "dca", *span, "--set", "loose", "-o", str(file), **environment)
    assert (code, error) == (0, "")
    frame, manifest = pl.read_parquet(file), json.loads((tmp_path / "dca.manifest.json").read_text())
    assert f"{frame.height:,} rows" in out
    assert frame.height == manifest["rows"] > 10
    assert {"y", "weight", "label_end_ts", "setup_fall", "rsi_14", "regime"} <= set(frame.columns)
    again = tmp_path / "again.parquet"
    code, out, _ = run("training-set", "reproduce", str(tmp_path / "dca.manifest.json"), "-o", str(again))
    assert code == 0
    assert "byte for byte" in out
    assert again.read_bytes() == file.read_bytes()
    code, _, error = run("training-set", "build", "dca", *span, "--set", "tight", "-o", str(file))
    assert (code, error) == (2, "error: unknown parameter set 'tight': there are default, loose\n")
    code, _, error = run("training-set", "build", "dcb", *span, "-o", str(file))
    assert (code, error) == (2, "error: unknown strategy 'dcb': use one of dca, swing, channel\n")
    code, _, error = run("training-set", "reproduce", str(file.with_suffix(".nope")), "-o", str(again))
    assert code == 1
    assert "no such file" in error
