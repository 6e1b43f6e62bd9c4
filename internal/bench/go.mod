module github.com/gatewire/gatewire/internal/bench

go 1.26.0

replace github.com/gatewire/gatewire => ../..
