package password

import (
	_ "embed"
	"strings"
)

// commonList is sorted, lower case, one password of 8 or more characters a line.
// NOTICE says where it is from.
//
//go:embed common.txt
var commonList string

// common reports whether pw, in lower case, is among the passwords that are
// guessed first. It searches the text by halves instead of keeping a map of it.
func common(pw string) bool {
	if trivial(pw) {
		return true
	}
	list := commonList
	for list != "" {
		// The line around the middle.
		start := strings.LastIndexByte(list[:len(list)/2], '\n') + 1
		end := start + strings.IndexByte(list[start:], '\n')
		switch line := list[start:end]; {
		case line == pw:
			return true
		case line < pw:
			list = list[end+1:]
		default:
			list = list[:start]
		}
	}
	return false
}

// trivial reports whether each character is the one before it, or its neighbour
// in one direction: "aaaaaaaaaa", "abcdefgh", "87654321".
func trivial(pw string) bool {
	rs := []rune(pw)
	if len(rs) < 2 {
		return false
	}
	step := rs[1] - rs[0]
	if step < -1 || step > 1 {
		return false
	}
	for i := 2; i < len(rs); i++ {
		if rs[i]-rs[i-1] != step {
			return false
		}
	}
	return true
}
