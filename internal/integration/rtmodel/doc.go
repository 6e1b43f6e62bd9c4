// Package rtmodel holds a model-based test of sockets and the sessions they
// hang on: several hubs, clients, revocations and faults in fake time. See
// README.md.
package rtmodel
