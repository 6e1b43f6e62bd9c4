package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// shown are the columns of a step's table.
func shown(step string) []string {
	if strings.HasPrefix(step, "cores") {
		return []string{"all have it, ms", "cpu ms", "floor ms", "of the floor"}
	}
	switch step {
	case "idle":
		return []string{"rss", "heap", "stack", "goroutines", "handshakes/s", "handshake cpu ms", "handshake allocs", "generator idle"}
	case "sign-out":
		return []string{"p50 ms", "p99 ms", "longest ms"}
	case "echo":
		return []string{"trips/s", "p50 ms", "p99 ms", "cpu us", "allocs", "generator idle"}
	case "latency N=1000":
		return []string{"p50 ms", "p90 ms", "floor p50 ms", "of the floor"}
	default:
		return []string{"deliveries/s", "of the floor", "by cpu", "cpu us", "allocs", "server busy", "generator idle", "foreign"}
	}
}

// all lists whom to show, in this order.
var all = []string{"gatewire", "centrifuge", "centrifuge:timer", "gws", "melody", "coder"}

// report writes a table for each step: the median of the repetitions, and the
// least and the most of the ratio.
func (b *bench) report(w io.Writer) {
	var steps []string
	for _, r := range b.results {
		if !slices.Contains(steps, r.Step) {
			steps = append(steps, r.Step)
		}
	}
	for _, step := range steps {
		columns := shown(step)
		fmt.Fprintf(w, "\n### %s\n\n| | %s |\n|---|%s\n", step, strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
		for _, name := range all {
			cells := make([]string, 0, len(columns))
			for _, column := range columns {
				if list := b.list(step, name, column); len(list) > 0 {
					cells = append(cells, cell(column, list))
				}
			}
			if len(cells) > 0 {
				fmt.Fprintf(w, "| %s | %s |\n", name, strings.Join(cells, " | "))
			}
		}
	}
}

func (b *bench) list(step, name, column string) []float64 {
	var list []float64
	for _, r := range b.results {
		if v, ok := r.V[column]; ok && r.Step == step && r.Peer == name {
			list = append(list, v)
		}
	}
	slices.Sort(list)
	return list
}

func cell(column string, list []float64) string {
	median := list[len(list)/2]
	switch {
	case column == "of the floor" || column == "by cpu":
		return fmt.Sprintf("%.2f (%.2f–%.2f)", median, list[0], list[len(list)-1])
	case column == "allocs":
		return fmt.Sprintf("%.4f", median)
	case strings.HasSuffix(column, "idle") || column == "server busy" || column == "foreign":
		return fmt.Sprintf("%.0f %%", median*100)
	case median >= 1000:
		return fmt.Sprintf("%.0f", median)
	default:
		return fmt.Sprintf("%.3g", median)
	}
}
