-- The end of a user's sessions that is owed: all four, or all NULL. The index
-- holds those alone.
ALTER TABLE gatewire_users ADD COLUMN ending_mark TEXT;
ALTER TABLE gatewire_users ADD COLUMN ending_reason TEXT;
ALTER TABLE gatewire_users ADD COLUMN ending_since INTEGER;
ALTER TABLE gatewire_users ADD COLUMN ending_due INTEGER;
CREATE INDEX gatewire_users_ending ON gatewire_users (ending_due) WHERE ending_due IS NOT NULL;
