// Package drill rehearses recoveries: it restores something into a scratch folder, has the real engine open it, asks the questions
// that its owner has for it, measures how long that took and how much would have been lost, and throws it away. What came of it is
// kept, so that a promise of a recovery time can be compared with what was delivered.
//
// It never touches what is in service, never leaves its scratch behind, and never calls a drill passed whose checks did not run.
package drill
