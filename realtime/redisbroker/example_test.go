package redisbroker_test

import (
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/realtime/redisbroker"
)

func ExampleNew() {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", ContextTimeoutEnabled: true})
	defer client.Close()
	broker, err := redisbroker.New(client, &redisbroker.Options{Prefix: "shop:"})
	if err != nil {
		fmt.Println(err)
		return
	}
	options := &realtime.Options{Broker: broker} // for realtime.New, the same on every node
	_, history := options.Broker.(realtime.History)
	fmt.Println("keeps a history:", history)
	// Output: keeps a history: true
}
