// Package client gives a Go program what a balancer before its services would:
// requests go to one of several servers that do the same, by the algorithms,
// health and policies of packages balance and fault, with no proxy between.
//
// [LoadBalance] is the short way:
//
//	shop, err := client.LoadBalance("http://10.0.0.11:8000", "http://10.0.0.12:8000")
//	resp, err := shop.Get("/items")
//
// A server that fails, stops answering or can't be reached is left out for a
// while, judged by the requests themselves; requests that can be repeated without
// harm get another server, within a budget. [New] is the long way: with probes,
// hedges, limits and whatever else package fault has, an algorithm, priorities,
// and requests that are held while no server is available.
//
// The package serves nothing and keeps nothing on disk. It starts goroutines only
// in [Client.Run], which sends the probes.
package client
