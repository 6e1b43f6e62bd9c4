// Package integration runs the contract suites of the stores against real
// database servers, which the tests start themselves. It is a module of its
// own, so that no driver reaches the module graph of a user of gatewire.
package integration
