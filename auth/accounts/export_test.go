package accounts

// ParseObject and ParseEmail are the parsers under fuzz.
var (
	ParseObject = parseObject
	ParseEmail  = parseEmail
	NetworkOf   = networkOf
)
