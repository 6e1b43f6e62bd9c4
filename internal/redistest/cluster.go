package redistest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gatewire/gatewire/internal/child"
)

// Cluster is three Redis servers that share the hash slots, without replicas.
type Cluster struct{ Nodes []*Server }

// slots is how many hash slots a cluster has (Redis cluster specification).
const slots = 16384

// StartCluster makes a new, empty cluster and waits until every node sees all
// slots served.
func StartCluster(config ...string) (_ *Cluster, err error) {
	c := &Cluster{}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	const size = 3
	for i := range size {
		s, err := Start(append([]string{"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "2000"}, config...)...)
		if err != nil {
			return c, err
		}
		c.Nodes = append(c.Nodes, s)
		from, to := i*slots/size, (i+1)*slots/size-1
		if _, err := s.Do("CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(from), fmt.Sprint(to)); err != nil {
			return c, err
		}
		if _, err := s.Do("CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1)); err != nil {
			return c, err
		}
	}
	for _, s := range c.Nodes[1:] {
		if _, err := c.Nodes[0].Do("CLUSTER", "MEET", "127.0.0.1", fmt.Sprint(s.port)); err != nil {
			return c, err
		}
	}
	return c, c.Ready()
}

// Ready waits until every node sees all slots served.
func (c *Cluster) Ready() error {
	last := ""
	for start := time.Now(); time.Since(start) < child.Patience; time.Sleep(50 * time.Millisecond) {
		ready := 0
		for _, s := range c.Nodes {
			info, err := s.Do("CLUSTER", "INFO")
			if err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", len(c.Nodes))) {
				ready++
			}
			last = info
		}
		if ready == len(c.Nodes) {
			return nil
		}
	}
	return fmt.Errorf("redistest: the cluster does not get ready:\n%s", last)
}

// Addrs are the addresses of the nodes.
func (c *Cluster) Addrs() (addrs []string) {
	for _, s := range c.Nodes {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}

// Close ends the servers and removes their folders.
func (c *Cluster) Close() (err error) {
	for _, s := range c.Nodes {
		err = errors.Join(err, s.Close())
	}
	return err
}
