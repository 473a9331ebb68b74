"""What the routes of predictions are asked and answer, as OpenAPI describes it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from crypto_pipeline.api.models import Time
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.settings import MlMode

_Parts = Annotated[
    dict[str, float] | None,
    Field(description="What each input adds to raw, the strongest first. Null where it was not asked for or refused."),
]
_Value = float | int | str | None


class PredictionsQuery(BaseModel):
    """Which predictions of an instrument, the newest first."""

    model_config = ConfigDict(extra="forbid")

    strategy: Strategy | None = Field(None, description="Default: all.")
    start: Time | None = Field(None, description="First signal.")
    end: Time | None = Field(None, description="First signal no longer included.")
    limit: int = Field(100, ge=1, le=1_000, description="Most predictions of an answer.")
    offset: int = Field(0, ge=0, le=1_000_000, description="Predictions to leave out, for the next page.")


class PredictBody(BaseModel):
    """A row of features to predict."""

    model_config = ConfigDict(extra="forbid")

    strategy: Strategy = Field(description="Whose model.")
    row: dict[str, _Value] = Field(
        max_length=500, description="Values by the names of inputs, in any order; null where there is none. tier: text."
    )
    feature_schema_hash: str | None = Field(
        None,
        max_length=64,
        description="Of the features in the row, if it is known. Default: as they are computed now.",
    )
    explain: bool = Field(True, description="Whether to say what each input contributes.")


class Decided(BaseModel):
    """A prediction and what follows from it."""

    model_id: str
    probability: float | None = Field(description="That the net return is above 0. Null where the model refused.")
    p_star: float | None = Field(description="Probability at which nothing is won or lost.")
    raw: float | None = Field(description="Log-odds before calibration.")
    ml_mode: MlMode = Field(description="What predictions of the strategy are used for.")
    decision: Literal["take", "skip"]
    size_factor: float = Field(description="What the size is multiplied by.")
    contributions: _Parts
    base_value: float | None = Field(description="What is added to the contributions: their sum is raw.")


class PredictAnswer(Decided):
    """The answer for a row of features. Nothing is stored."""

    strategy: str
    trained_until: AwareDatetime


class StoredPrediction(Decided):
    """A prediction as it was decided, once."""

    strategy: str
    instrument: str
    signal_ts: AwareDatetime = Field(description="Open of the signal bar.")
    made_at: AwareDatetime
    live: bool = Field(description="Made right after the features of the signal bar.")
    feature_schema_hash: str
    params_hash: str = Field(description="Of the label parameters whose setup it is.")
    refused: str | None = Field(description="Why the model refused, in a word: then the rules alone decide.")
    refusal: str | None = Field(description="The same in a sentence.")
    inputs: dict[str, float | None]


class PredictionsAnswer(BaseModel):
    """Predictions of one instrument."""

    instrument: str
    predictions: list[StoredPrediction]
