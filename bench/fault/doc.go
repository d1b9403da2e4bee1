// Package fault measures what the policies of package fault cost a call that they let through, beside failsafe-go and
// sony/gobreaker doing the same. It is a module of its own, so that those two are no dependencies of the product.
//
// It never waits for anything: a call is a function that returns at once, so all that is measured is the policy.
package fault
