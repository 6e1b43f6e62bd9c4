-- A provider ends sessions by where they came from.
CREATE INDEX gatewire_sessions_sid ON gatewire_sessions (origin_issuer, origin_sid) WHERE origin_sid <> '';
CREATE INDEX gatewire_sessions_subject ON gatewire_sessions (origin_issuer, origin_subject) WHERE origin_subject <> '';
