package events

import (
	"slices"
	"strings"
)

// Kind says what happened: a thing and what became of it.
type Kind string

// The kinds.
const (
	NodeStarted    Kind = "node.started"
	NodeUpgraded   Kind = "node.upgraded"       // this process has taken over from another
	NodeStopping   Kind = "node.stopping"       // it drains
	UpgradeFailed  Kind = "node.upgrade_failed" // the old process goes on
	FilesExhausted Kind = "node.files_exhausted"
	FilesFreed     Kind = "node.files_freed"

	ConfigReloaded Kind = "config.reloaded"
	ConfigRejected Kind = "config.rejected" // the old one stays

	EndpointDown        Kind = "endpoint.down" // its probes say so
	EndpointUp          Kind = "endpoint.up"
	EndpointUnprobed    Kind = "endpoint.unprobed" // nobody asks any more
	EndpointEjected     Kind = "endpoint.ejected"  // for what it made of requests
	EndpointProbation   Kind = "endpoint.probation"
	EndpointTrusted     Kind = "endpoint.trusted" // the probation is passed
	EndpointRole        Kind = "endpoint.role"    // it has the one that the pool wants
	EndpointUnfit       Kind = "endpoint.unfit"   // it has lost that
	EndpointAdded       Kind = "endpoint.added"
	EndpointRemoved     Kind = "endpoint.removed"
	EndpointReady       Kind = "endpoint.ready" // the administrator's wishes
	EndpointDrain       Kind = "endpoint.drain"
	EndpointMaintenance Kind = "endpoint.maintenance"
	EndpointWeight      Kind = "endpoint.weight"

	PoolPanic      Kind = "pool.panic" // too few are available, so all are used
	PoolPanicEnded Kind = "pool.panic_ended"
	PoolFull       Kind = "pool.full" // requests are refused for want of a place
	PoolEased      Kind = "pool.eased"

	ListenerFull  Kind = "listener.full" // connections wait or are closed for its limits
	ListenerEased Kind = "listener.eased"

	ProcessStarted    Kind = "process.started"
	ProcessReady      Kind = "process.ready"
	ProcessExited     Kind = "process.exited" // without being asked to
	ProcessHung       Kind = "process.hung"   // it runs and does not answer
	ProcessLate       Kind = "process.late"   // it did not become ready in time
	ProcessGaveUp     Kind = "process.gave_up"
	ProcessStopped    Kind = "process.stopped" // as it was asked to
	ProcessAdopted    Kind = "process.adopted" // from the process before an upgrade
	ProcessRolling    Kind = "process.rolling" // a new version begins to replace the old
	ProcessRolled     Kind = "process.rolled"
	ProcessRollFailed Kind = "process.roll_failed" // the old version stays

	BackupStarted     Kind = "backup.started"
	BackupFinished    Kind = "backup.finished"
	BackupIncomplete  Kind = "backup.incomplete" // it finished, but some things could not be saved
	BackupFailed      Kind = "backup.failed"     // it is tried again
	BackupOverdue     Kind = "backup.overdue"    // it has failed until two regular times had passed
	BackupInterrupted Kind = "backup.interrupted"
	BackupRemoved     Kind = "backup.removed" // the file does not name it any more
	// What is unusual about a backup: see package backup.
	BackupShrunk    Kind = "backup.shrunk"
	BackupGrown     Kind = "backup.grown"
	BackupRewritten Kind = "backup.rewritten"
	BackupScrambled Kind = "backup.scrambled" // what is new looks encrypted
	BackupEmpty     Kind = "backup.empty"

	RepositoryPruned       Kind = "repository.pruned"
	RepositoryPruneFailed  Kind = "repository.prune_failed"
	RepositoryVerified     Kind = "repository.verified"
	RepositoryVerifyFailed Kind = "repository.verify_failed" // it could not be looked at
	RepositoryDamaged      Kind = "repository.damaged"
	RepositoryRobbed       Kind = "repository.robbed" // snapshots are gone that Trivet did not remove
	RepositoryRemoved      Kind = "repository.removed"

	BudgetBurning     Kind = "budget.burning" // requests fail faster than the objectives allow: within days
	BudgetBurningFast Kind = "budget.burning_fast"
	BudgetEased       Kind = "budget.eased"

	DatabaseStreaming Kind = "database.streaming" // what changes becomes durable in its repository
	DatabaseStalled   Kind = "database.stalled"   // it does not
	DatabaseLine      Kind = "database.line"      // something is missing in between: a new line begins
	DatabaseDamaged   Kind = "database.damaged"   // what was durable is gone, or somebody else writes it

	DrillPassed  Kind = "drill.passed"
	DrillFailed  Kind = "drill.failed"
	DrillOverdue Kind = "drill.overdue"
	DrillRemoved Kind = "drill.removed"

	EventsLost Kind = "events.lost" // there were too many at once
	HookFailed Kind = "hook.failed"
)

// A fault is what one thing can suffer from, until something says that it no
// longer does.
type fault string

// lasts reports whether a fault outlives the process that saw it.
func (f fault) lasts() bool {
	switch f {
	case "down", "process", "backup", "incomplete", "prune", "verify", "damage", "stream", "drill":
		return true
	}
	return false
}

// every stands for all faults of a thing.
const every fault = "*"

// meaning is what an event of a kind says about faults.
type meaning struct {
	level  Level
	opens  fault   // that the thing suffers from now
	closes []fault // that it no longer does
	// withdraws: what ends the faults is no recovery, but that nobody asks any
	// more.
	withdraws bool
}

// meaning is the table of what kinds say. One that is not in it is a note.
func (k Kind) meaning() meaning {
	switch k {
	case EndpointDown:
		return meaning{level: Warn, opens: "down"}
	case EndpointUp:
		return meaning{closes: []fault{"down"}}
	case EndpointUnprobed:
		return meaning{closes: []fault{"down"}, withdraws: true}
	case EndpointEjected:
		return meaning{level: Warn, opens: "ejected"}
	case EndpointTrusted:
		return meaning{closes: []fault{"ejected"}}
	case EndpointRemoved:
		return meaning{closes: []fault{"down", "ejected"}, withdraws: true}
	case PoolPanic:
		return meaning{level: Error, opens: "panic"}
	case PoolPanicEnded:
		return meaning{closes: []fault{"panic"}}
	case PoolFull, ListenerFull:
		return meaning{level: Warn, opens: "full"}
	case PoolEased, ListenerEased:
		return meaning{closes: []fault{"full"}}
	case FilesExhausted:
		return meaning{level: Error, opens: "files"}
	case FilesFreed:
		return meaning{closes: []fault{"files"}}
	case ConfigRejected:
		return meaning{level: Warn, opens: "config"}
	case ConfigReloaded:
		return meaning{closes: []fault{"config"}}
	case ProcessExited, ProcessLate, ProcessHung:
		return meaning{level: Warn, opens: "process"}
	case ProcessGaveUp:
		return meaning{level: Error, opens: "process"}
	case ProcessReady:
		return meaning{closes: []fault{"process"}}
	case ProcessStopped:
		return meaning{closes: []fault{every}, withdraws: true}
	case BackupFailed:
		return meaning{level: Warn, opens: "backup"}
	case BackupOverdue:
		return meaning{level: Error, opens: "backup"}
	case BackupIncomplete:
		return meaning{level: Warn, opens: "incomplete", closes: []fault{"backup"}}
	case BackupFinished:
		return meaning{closes: []fault{"backup", "incomplete"}}
	case DatabaseStalled:
		return meaning{level: Error, opens: "stream"}
	case DatabaseStreaming:
		return meaning{closes: []fault{"stream"}}
	case DatabaseLine:
		return meaning{level: Warn}
	case DatabaseDamaged:
		return meaning{level: Error}
	case DrillFailed:
		return meaning{level: Warn, opens: "drill"}
	case DrillOverdue:
		return meaning{level: Error, opens: "drill"}
	case DrillPassed:
		return meaning{closes: []fault{"drill"}}
	case BackupRemoved, RepositoryRemoved, DrillRemoved:
		return meaning{closes: []fault{every}, withdraws: true}
	case BackupScrambled, BackupEmpty:
		return meaning{level: Error}
	case RepositoryPruneFailed:
		return meaning{level: Warn, opens: "prune"}
	case RepositoryPruned:
		return meaning{closes: []fault{"prune"}}
	case RepositoryVerifyFailed:
		return meaning{level: Warn, opens: "verify"}
	case RepositoryDamaged:
		return meaning{level: Error, opens: "damage", closes: []fault{"verify"}}
	case RepositoryVerified:
		return meaning{closes: []fault{"verify", "damage"}}
	case BackupShrunk, BackupGrown, BackupRewritten, RepositoryRobbed:
		return meaning{level: Warn}
	case BudgetBurning:
		return meaning{level: Warn, opens: "budget"}
	case BudgetBurningFast:
		return meaning{level: Error, opens: "budget"}
	case BudgetEased:
		return meaning{closes: []fault{"budget"}}
	case EndpointUnfit, UpgradeFailed, ProcessRollFailed, EventsLost, HookFailed:
		return meaning{level: Warn}
	}
	return meaning{level: Info}
}

// Level is how much events of the kind matter.
func (k Kind) Level() Level {
	if l := k.meaning().level; l != "" {
		return l
	}
	return Info
}

// Kinds is every kind, in order.
func Kinds() []Kind {
	kinds := []Kind{
		NodeStarted, NodeUpgraded, NodeStopping, UpgradeFailed, FilesExhausted, FilesFreed, ConfigReloaded, ConfigRejected,
		EndpointDown, EndpointUp, EndpointUnprobed, EndpointEjected, EndpointProbation, EndpointTrusted, EndpointRole, EndpointUnfit, EndpointAdded,
		EndpointRemoved, EndpointReady, EndpointDrain, EndpointMaintenance, EndpointWeight, PoolPanic, PoolPanicEnded,
		PoolFull, PoolEased, ListenerFull, ListenerEased, ProcessStarted, ProcessReady, ProcessExited, ProcessHung,
		ProcessLate, ProcessGaveUp, ProcessStopped, ProcessAdopted, ProcessRolling, ProcessRolled, ProcessRollFailed,
		BackupStarted, BackupFinished, BackupIncomplete, BackupFailed, BackupOverdue, BackupInterrupted, BackupRemoved, BackupShrunk, BackupGrown,
		BackupRewritten, BackupScrambled, BackupEmpty, RepositoryPruned, RepositoryPruneFailed, RepositoryVerified, RepositoryVerifyFailed,
		RepositoryDamaged, RepositoryRobbed, RepositoryRemoved, DatabaseStreaming, DatabaseStalled, DatabaseLine, DatabaseDamaged,
		DrillPassed, DrillFailed, DrillOverdue, DrillRemoved, BudgetBurning, BudgetBurningFast, BudgetEased, EventsLost, HookFailed,
	}
	slices.Sort(kinds)
	return kinds
}

// Word is the kind for people: "endpoint down".
func (k Kind) Word() string { return strings.NewReplacer(".", " ", "_", " ").Replace(string(k)) }

// Matches reports whether the kind is the pattern, or begins with what stands
// before the pattern's final "*".
func (k Kind) Matches(pattern string) bool {
	if prefix, open := strings.CutSuffix(pattern, "*"); open {
		return strings.HasPrefix(string(k), prefix)
	}
	return string(k) == pattern
}
