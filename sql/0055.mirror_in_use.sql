-- A mirror that is turned off is not read either, by anyone who reads this database.
-- depends: 0052.looks

ALTER TABLE lake.owner ADD COLUMN in_use boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN lake.owner.in_use IS 'The setting mirror of the deployment: if false, reads take every day from the tables';
