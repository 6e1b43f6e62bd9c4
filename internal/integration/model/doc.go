// Package model holds a model-based test of sessions: several nodes on one
// store, their requests interleaved at every call of the store. See README.md.
package model
