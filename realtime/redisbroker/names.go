package redisbroker

import "hash/fnv"

// lanes are hash tags, one for each sixteenth of a cluster's slots: whoever
// holds the usual ranges of slots holds as many lanes as others.
var lanes = [16]string{
	"10", "3", "61", "43", "11", "2", "60", "42",
	"12", "1", "63", "41", "13", "0", "62", "40",
}

// lane says to which group a name belongs. All nodes must agree.
func lane(name string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return int(h.Sum32() % uint32(len(lanes)))
}

// name puts a name into a lane. A cluster hashes what is within the first
// braces, so that those of a channel's own don't count.
func (b *Broker) name(lane int, kind, name string) string {
	return b.prefix + "{" + lanes[lane] + "}" + kind + name
}

func (b *Broker) channel(channel string) string { return b.name(lane(channel), "c:", channel) }

// meta and stream hold a channel's history, clients who is in it.
func (b *Broker) meta(channel string) string    { return b.name(lane(channel), "h:", channel) }
func (b *Broker) stream(channel string) string  { return b.name(lane(channel), "s:", channel) }
func (b *Broker) clients(channel string) string { return b.name(lane(channel), "p:", channel) }

// fence keeps out an Enter that comes after the Leave behind it.
func (b *Broker) fence(p place) string {
	return b.name(lane(p.channel), "f:", measured(p.node)+measured(p.channel)+p.client)
}

// entered lists what one node has entered, nodes until when each counts, dead
// since when each doesn't.
func (b *Broker) entered(node string) string { return b.name(lane(node), "n:", node) }
func (b *Broker) nodes() string              { return b.name(0, "nodes", "") }
func (b *Broker) dead() string               { return b.name(0, "dead", "") }

// control is what every link hears, probe what only one connection does.
func (b *Broker) control() string                  { return b.name(0, "control", "") }
func (b *Broker) probe(lane int, id string) string { return b.name(lane, "probe:", id) }
