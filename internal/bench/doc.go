// Package bench measures what gatewire claims about speed and size, side by
// side with what people use today, in one process. README.md has the commands
// and the figures.
package bench
