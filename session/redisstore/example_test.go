package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewire/gatewire/session"
	"github.com/gatewire/gatewire/session/redisstore"
)

func ExampleNew() {
	client := redis.NewClient(&redis.Options{
		Addr:                  "127.0.0.1:1", // nobody listens there
		DialTimeout:           2 * time.Second,
		ReadTimeout:           2 * time.Second,
		ContextTimeoutEnabled: true,
	})
	defer client.Close()
	store, err := redisstore.New(client, nil)
	if err != nil {
		log.Fatal(err)
	}
	sessions, err := session.New[struct{ Theme string }](store, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer sessions.Close()

	// A Redis that is down does not keep the program from starting, and is
	// neither "signed in" nor "signed out".
	_, err = sessions.List(context.Background(), "ada")
	var down *net.OpError
	fmt.Println(errors.As(err, &down))
	// Output: true
}

func ExampleNew_cluster() {
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs:                 []string{"redis-1.internal:6379", "redis-2.internal:6379", "redis-3.internal:6379"},
		ContextTimeoutEnabled: true,
	})
	defer client.Close()
	// The node with the hash slot of "shop:sessions" carries the sessions.
	_, err := redisstore.New(client, &redisstore.Options{Prefix: "shop:"})
	fmt.Println(err)
	// Output: <nil>
}

// Without ContextTimeoutEnabled a request would wait for a Redis that does not
// answer longer than its context allows.
func ExampleNew_incorrect() {
	client := redis.NewClient(&redis.Options{Addr: "redis.internal:6379"})
	defer client.Close()
	_, err := redisstore.New(client, nil)
	fmt.Println(err)
	// Output: session/redisstore: the client does not keep to the deadline of a context: set ContextTimeoutEnabled in its options
}
