// Package api answers how a running Trivet is seen and steered from outside: the control API's types, its HTTP handler over
// a Node, and the client that the command line uses.
//
// It is HTTP with JSON under /v1/, on a Unix socket that only its owner may open, or on TCP with a token:
//
//	GET    /v1/status                              everything at a glance
//	GET    /v1/pools                               pools with their endpoints
//	GET    /v1/pools/{pool}
//	POST   /v1/pools/{pool}/endpoints              add an endpoint
//	PATCH  /v1/pools/{pool}/endpoints/{address}    drain it, take it back, weigh it
//	DELETE /v1/pools/{pool}/endpoints/{address}    remove it
//	GET    /v1/backups                             backups, and what looks after repositories
//	GET    /v1/backups/{name}
//	POST   /v1/backups/{name}                      begin one now (?repository= into that alone)
//	DELETE /v1/backups/{name}                      stop it, if it runs
//	GET    /v1/dns                                 what the name server answers with
//	POST   /v1/dns/query                           what a client would be answered, and why
//	GET    /v1/explain/endpoint?address=           why an endpoint is in or out
//	POST   /v1/explain/request                     where a request would go, and why
//	POST   /v1/reload                              load the file again
//	POST   /v1/upgrade                             hand over to the program that now stands in this one's place
//	GET    /metrics                                for Prometheus
//
// An error is {"error": ..., "hint": ...} with a status of 400 or above. The package decides nothing itself, keeps no state, and
// never changes the configuration file.
package api
