// Package trivet is one whole node: it reads what a trivet.yaml says, wires the listeners, pools and probes
// together, and keeps them running until it is told to stop.
//
// It is the only package that knows all the others. A program can embed it:
//
//	file, err := config.Load("trivet.yaml")
//	node, err := trivet.New(trivet.Config{File: file})
//	err = node.Run(ctx)
//
// New checks everything and opens the sockets; it serves nothing. Run serves until ctx ends and then drains:
// every request in progress gets its answer. Reload exchanges the configuration while requests run, or changes
// nothing and says why.
package trivet
