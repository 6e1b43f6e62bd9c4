package main

import (
	"testing"

	"github.com/gatewire/gatewire/examples/internal/story"
)

func TestShop(t *testing.T) { story.Run(t, newShop) }
