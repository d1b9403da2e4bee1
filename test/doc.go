// Package test holds what only the whole binary can show: it builds trivet, runs it as its users do, and lets
// real clients at it. It has no code of the product.
package test
