-- Alerts that are announced to people, and the outbox through which every message leaves.
-- depends: 0028.price_updates

ALTER TABLE ops.alerts
    ADD COLUMN first_look      timestamptz,
    ADD COLUMN announced_at    timestamptz,
    ADD COLUMN announcements   integer NOT NULL DEFAULT 0,
    ADD COLUMN recovery_at     timestamptz,
    ADD COLUMN acknowledged_at timestamptz,
    ADD COLUMN acknowledged_by text,
    ADD COLUMN muted_until     timestamptz;
COMMENT ON COLUMN ops.alerts.first_look IS 'when the notifier saw the alert open for the first time';
COMMENT ON COLUMN ops.alerts.announced_at IS 'when a message about the alert was put into the outbox most recently';
COMMENT ON COLUMN ops.alerts.recovery_at IS 'when the message that it is over was put into the outbox';
COMMENT ON COLUMN ops.alerts.muted_until IS 'until then no message about this source and timeframe is sent';

-- An alert that opens and closes again and again has a row for each time; what holds for all of them is looked up here.
CREATE INDEX alerts_announced ON ops.alerts (source, timeframe)
    WHERE announced_at IS NOT NULL OR muted_until IS NOT NULL;
CREATE INDEX alerts_recovery_due ON ops.alerts (id) WHERE announced_at IS NOT NULL AND recovery_at IS NULL;

-- Planned work: alerts of a source that matches the pattern ('*' stands for any text) are not announced meanwhile.
CREATE TABLE ops.maintenance_windows (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source     text        NOT NULL DEFAULT '*',
    starts_at  timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL,
    reason     text        NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (starts_at < ends_at)
);
CREATE INDEX maintenance_windows_end ON ops.maintenance_windows (ends_at);

-- One message to one channel. It is stored before it is sent, and stays 'unknown' from the moment at which an attempt
-- begins until its end is known: a process that is killed meanwhile leaves 'unknown' behind.
CREATE TABLE ops.outbox (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind         text        NOT NULL CHECK (kind IN ('alert', 'recovery', 'report', 'test', 'collected')),
    channel      text        NOT NULL,
    body         jsonb       NOT NULL,
    -- a message with a key is stored once for each channel
    key          text,
    state        text        NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'sent', 'unknown')),
    -- an attempt was made of which it is not known whether it arrived: the next one says that it may repeat
    may_repeat   boolean     NOT NULL DEFAULT false,
    attempts     integer     NOT NULL DEFAULT 0,
    next_attempt timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- the channel refused the form of the message: it is sent as plain text
    plain        boolean     NOT NULL DEFAULT false,
    -- what the message is found by at the other end
    token        uuid        NOT NULL DEFAULT gen_random_uuid(),
    error        text,
    receipt      text,
    -- the message that carries this one, where many were waiting
    folded_into  bigint      REFERENCES ops.outbox ON DELETE CASCADE,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    sent_at      timestamptz,
    UNIQUE (channel, key)
);
CREATE INDEX outbox_waiting ON ops.outbox (channel, next_attempt) WHERE state <> 'sent' AND folded_into IS NULL;
CREATE INDEX outbox_folded ON ops.outbox (folded_into) WHERE folded_into IS NOT NULL;
CREATE INDEX outbox_created ON ops.outbox (created_at);

-- What is known of each channel: when it may be used next, and since when it fails.
CREATE TABLE ops.notification_channels (
    name          text        PRIMARY KEY,
    next_at       timestamptz NOT NULL DEFAULT '-infinity',
    last_sent     timestamptz,
    failures      integer     NOT NULL DEFAULT 0,
    failing_since timestamptz,
    last_error    text
) WITH (fillfactor = 50);
