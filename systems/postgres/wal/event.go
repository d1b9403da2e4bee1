package wal

import (
	"bytes"
	"encoding/binary"
	"time"
)

// Kind says what an Event is.
type Kind uint8

const (
	// Commit: a transaction was committed. Replay that goes to Event.End has it; replay that ends before has not.
	Commit Kind = iota + 1
	// Abort: a transaction was rolled back.
	Abort
	// RestorePoint: somebody called pg_create_restore_point.
	RestorePoint
	// Promotion: a timeline begins here.
	Promotion
	// Switch: the rest of the segment is empty.
	Switch
	// Shutdown: the server was shut down in good order.
	Shutdown
)

// Event is something in the log that a person may want to go back to.
type Event struct {
	Kind Kind
	// Begin is where the record begins, End where the next one may begin.
	Begin, End Position
	Xid        uint32    // of a Commit or Abort
	Time       time.Time // UTC, to the microsecond; zero for a Switch and a Shutdown
	Name       string    // of a RestorePoint
	Timeline   Timeline  // that a Promotion begins
	Parent     Timeline  // that a Promotion leaves
}

// Resource managers (rmgrlist.h) and the operations of theirs that are read here. The numbers have not changed since
// PostgreSQL 9.
const (
	managerXLOG = 0
	managerXact = 1

	infoShutdown      = 0x00 // XLOG_CHECKPOINT_SHUTDOWN
	infoSwitch        = 0x40
	infoRestorePoint  = 0x70
	infoEndOfRecovery = 0x90

	xactOperation     = 0x70
	xactCommit        = 0x00
	xactAbort         = 0x20
	xactCommitPrepare = 0x30
	xactAbortPrepare  = 0x40
	xactHasInfo       = 0x80
)

// Parts of a record in front of its main data: XLogRecordDataHeaderShort, …Long, and those of an origin and of a
// top-level transaction.
const (
	partShort    = 255
	partLong     = 254
	partOrigin   = 253
	partTopLevel = 252
)

func matters(manager uint8) bool { return manager == managerXLOG || manager == managerXact }

// record is one whole record that may mean something.
type record struct {
	begin, end Position
	xid        uint32
	info       uint8
	manager    uint8
	version    int
	body       []byte // at most keptBytes of it
}

// tell emits the event that the record is, if it is one.
func (r *record) tell(emit func(Event)) {
	e := Event{Begin: r.begin, End: r.end}
	if r.manager == managerXLOG && r.info&0xf0 == infoSwitch {
		e.Kind = Switch // it has no body
		emit(e)
		return
	}
	data, ok := r.mainData()
	if !ok {
		return
	}
	if r.manager == managerXact {
		ok = r.transaction(&e, data)
	} else {
		ok = r.control(&e, data)
	}
	if ok {
		emit(e)
	}
}

// mainData is what a record is about. Records that this package reads refer to no block.
func (r *record) mainData() ([]byte, bool) {
	b := r.body
	for len(b) > 0 {
		switch b[0] {
		case partShort:
			if len(b) < 2 {
				return nil, false
			}
			return b[2:], true
		case partLong:
			if len(b) < 5 {
				return nil, false
			}
			return b[5:], true
		case partOrigin:
			b = b[min(3, len(b)):]
		case partTopLevel:
			b = b[min(5, len(b)):]
		default:
			return nil, false
		}
	}
	return nil, false
}

// transaction reads xl_xact_commit and xl_xact_abort.
func (r *record) transaction(e *Event, data []byte) bool {
	operation := r.info & xactOperation
	switch operation {
	case xactCommit, xactCommitPrepare:
		e.Kind = Commit
	case xactAbort, xactAbortPrepare:
		e.Kind = Abort
	default:
		return false
	}
	if len(data) < 8 {
		return false
	}
	e.Time, e.Xid = timeOf(data), r.xid
	if operation == xactCommitPrepare || operation == xactAbortPrepare {
		e.Xid = r.preparedXid(data[8:])
	}
	return true
}

// Parts of a commit or abort record (XACT_XINFO_HAS_…), in the order in which they come.
const (
	withDatabase   = 1 << 0
	withChildren   = 1 << 1
	withFiles      = 1 << 2
	withStatistics = 1 << 8
	withMessages   = 1 << 3
	withPrepared   = 1 << 4
)

// preparedXid is the transaction that a COMMIT PREPARED ends; 0 if it cannot be told.
func (r *record) preparedXid(b []byte) uint32 {
	if r.info&xactHasInfo == 0 || len(b) < 4 {
		return 0
	}
	flags := binary.LittleEndian.Uint32(b)
	b = b[4:]
	skip := func(n uint64) bool {
		if uint64(len(b)) < n {
			return false
		}
		b = b[n:]
		return true
	}
	list := func(flag uint32, each uint64) bool {
		if flags&flag == 0 {
			return true
		}
		return len(b) >= 4 && skip(4+each*uint64(binary.LittleEndian.Uint32(b)))
	}
	statistics := uint64(12) // xl_xact_stats_item
	if r.version >= 18 {
		statistics = 16
	}
	if flags&withDatabase != 0 && !skip(8) {
		return 0
	}
	if !list(withChildren, 4) || !list(withFiles, 12) || (r.version >= 15 && !list(withStatistics, statistics)) {
		return 0
	}
	if r.info&xactOperation == xactCommitPrepare && !list(withMessages, 16) { // an abort has none
		return 0
	}
	if flags&withPrepared == 0 || len(b) < 4 {
		return 0
	}
	return binary.LittleEndian.Uint32(b)
}

// control reads records of the log itself.
func (r *record) control(e *Event, data []byte) bool {
	switch r.info & 0xf0 {
	case infoRestorePoint: // xl_restore_point: time, name[64]
		if len(data) < 8 {
			return false
		}
		name, _, _ := bytes.Cut(data[8:], []byte{0})
		e.Kind, e.Time, e.Name = RestorePoint, timeOf(data), string(name)
	case infoEndOfRecovery: // xl_end_of_recovery: time, this timeline, the one before
		if len(data) < 16 {
			return false
		}
		e.Kind, e.Time = Promotion, timeOf(data)
		e.Timeline, e.Parent = Timeline(binary.LittleEndian.Uint32(data[8:])), Timeline(binary.LittleEndian.Uint32(data[12:]))
	case infoShutdown:
		e.Kind = Shutdown
	default:
		return false
	}
	return true
}

// epoch is where PostgreSQL's clock begins: 2000-01-01, in microseconds since 1970.
const epoch = 946_684_800_000_000

// timeOf reads a TimestampTz: microseconds since 2000.
func timeOf(b []byte) time.Time {
	return time.UnixMicro(int64(binary.LittleEndian.Uint64(b)) + epoch).UTC()
}
