package sessiontest

var raceRules []rule
