"""Columns of the tables of the account, as the asset pages show them."""

from crypto_pipeline.defs.base import metadata

SIGNALS = metadata.table_schema(
    metadata.columns(
        """
        account          text         Of trading.accounts.
        strategy         text         Whose setup it is.
        instrument_id    int          Of market.instruments.
        signal_ts        timestamptz  Open of the signal bar.
        moment           timestamptz  Its close: when it was decided, by the market's time.
        made_at          timestamptz  When it was stored.
        taken            bool         Whether it is traded.
        limit_name       text         What rejected it; null: nothing.
        limit_value      float8       What was found.
        limit_threshold  float8       What is allowed.
        decision_price   float8       Close of the signal bar.
        size             numeric      What all orders together spend, fees apart; null: rejected.
        bound_by         text         What the size was bound by.
        risk             numeric      What is lost where all orders are filled and the stop is touched.
        equity           numeric      Of the account when it was decided.
        free_cash        numeric      Of the account when it was decided.
        parameters_hash  text         Of the trading parameters, in trading.parameters.
        params_hash      text         Of the strategy's parameters.
        probability      float8       Of the prediction, where there was one.
        p_star           float8       Probability at which nothing is won or lost.
        measures         jsonb        The setup's own measures.
        """
    ),
    "(account, strategy, instrument, signal_ts)",
)
TRADES = metadata.table_schema(
    metadata.columns(
        """
        account            text         Of trading.accounts.
        strategy           text         Whose signal it was.
        instrument_id      int          Of market.instruments.
        signal_ts          timestamptz  Open of the signal bar.
        revision           int          0; one more for each time that it was booked again.
        superseded_at      timestamptz  When its fills were taken back; null: it holds.
        entry_ts           timestamptz  Open of the entry bar.
        exit_ts            timestamptz  Close of the bar in which it ended.
        outcome            text         TP, SL or TIME.
        orders_filled      int          Of its grid.
        units              numeric      That were sold.
        decision_price     float8       Close of the signal bar.
        entry_price        float8       Of the first order, before slippage.
        average_price      float8       Of all orders, before slippage.
        exit_price         float8       Before slippage.
        stop_loss_price    float8       Where it would have been stopped.
        take_profit_price  float8       Where it would have ended with a profit.
        paid               numeric      For its entries, fees included.
        received           numeric      For its exit, after fees.
        fees               numeric      Of both sides.
        slippage           numeric      What worse fills cost: part of the prices.
        pnl                numeric      received - paid.
        net_return         float8       As the label of the signal has it.
        """
    ),
    "(account, strategy, instrument, signal_ts, revision)",
)
EQUITY = metadata.table_schema(
    metadata.columns(
        """
        account       text         Of trading.accounts.
        moment        timestamptz  Close of a 15m bar, with everything of the moment booked.
        cash          numeric      In the account's currency.
        reserved      numeric      Of cash: for orders that rest.
        positions     numeric      Value of what is held, at the closes of the moment.
        equity        numeric      cash + positions.
        open_trades   int          Trades that are open.
        open_risk     numeric      What is lost where all of them are stopped.
        day_mark      numeric      Equity at 00:00 UTC.
        week_mark     numeric      Equity at Monday 00:00 UTC.
        high_water    numeric      Highest equity since the last reset of a halt.
        drawdown      float8       Share of high_water that is lost.
        state         text         ACTIVE, REDUCING or HALTED.
        daily_until   timestamptz  No entries until then, after the loss of a day.
        weekly_until  timestamptz  No entries until then, after the loss of a week.
        halt_until    timestamptz  No entries until then, after a drawdown.
        drawn         bool         The drawdown has reached its halt and not been left since.
        needs_reset   bool         A person must reset it.
        """
    ),
    "(account, moment)",
)
