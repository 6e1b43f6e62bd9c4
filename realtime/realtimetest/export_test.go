package realtimetest

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// Rules are the ids of all rules.
func Rules() (ids []string) {
	for _, r := range rules {
		ids = append(ids, r.id)
	}
	return ids
}

// Undocumented returns the rules that the package comment doesn't have.
func Undocumented() (ids []string) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		return []string{err.Error()}
	}
	for _, r := range rules {
		if !strings.Contains(string(doc), "//   - "+r.id+". "+r.sentence+"\n") {
			ids = append(ids, r.id)
		}
	}
	return ids
}

// Try checks one rule on a system and returns its failure, "" for none.
func Try(ctx context.Context, id string, s System) (failure string) {
	for _, r := range rules {
		if r.id != id {
			continue
		}
		if why := r.lacks(s); why != "" {
			return why
		}
		defer func() {
			switch e := recover().(type) {
			case nil:
			case fatal:
				failure = string(e)
			default:
				panic(e)
			}
		}()
		check(ctx, recording{}, r, s, &Options{})
		return ""
	}
	return "no such rule"
}

type fatal string

type recording struct{}

func (recording) Helper() {}

func (recording) Fatalf(format string, args ...any) { panic(fatal(fmt.Sprintf(format, args...))) }
