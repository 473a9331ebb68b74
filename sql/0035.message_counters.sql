-- Messages are counted where they stand; only what leaves the outbox is added up.
-- depends: 0030.notifications

CREATE TABLE ops.messages_removed (
    channel  text   NOT NULL,
    kind     text   NOT NULL,
    messages bigint NOT NULL,
    PRIMARY KEY (channel, kind)
);
COMMENT ON TABLE ops.messages_removed IS 'How many sent messages were deleted from ops.outbox; a trigger keeps it';

CREATE FUNCTION ops.count_removed_messages() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ops.messages_removed AS r
    SELECT channel, kind, count(*) FROM removed WHERE state = 'sent' GROUP BY channel, kind ORDER BY channel, kind
    ON CONFLICT (channel, kind) DO UPDATE SET messages = r.messages + excluded.messages;
    RETURN NULL;
END
$$;
CREATE TRIGGER count_removed AFTER DELETE ON ops.outbox REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION ops.count_removed_messages();
