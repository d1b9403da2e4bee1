package postgres

import (
	"path/filepath"
	"testing"
)

func TestResticRestoresABaseThatPostgresAcceptsAsItIs(t *testing.T) {
	b := newBench(t)
	space := b.Folder(t, "fast")
	b.SQL(t, "create tablespace fast location '"+space+"'")
	b.SQL(t, "create table a as select n, md5(n::text) from generate_series(1, 20000) n")
	b.SQL(t, "create table f (n int) tablespace fast")
	b.SQL(t, "insert into f select generate_series(1, 5000)")
	base := b.save(Config{})
	if len(b.problems) > 0 || base.Damaged != 0 {
		t.Errorf("problems: %v", b.problems)
	}
	if len(base.Tablespaces) != 1 || base.Tablespaces[0].Location != space {
		t.Errorf("tablespaces = %v", base.Tablespaces)
	}
	if !base.WithWAL || base.End <= base.Start || base.Timeline != 1 || base.Bytes < 20<<20 {
		t.Errorf("base = %+v", base)
	}
	place := b.Folder(t, "restored")
	b.restic("restore", base.Snapshot.ID().String(), "--target", place)
	b.restic("check", "--read-data")
	b.give(place)
	data := filepath.Join(place, "postgres/orders/data")
	b.Run(t, "pg_verifybackup", data)
	s := startAt(t, b, data)
	for sql, want := range map[string]string{
		"select count(*), max(n) from a": "20000|20000", "select count(*) from f": "5000",
		"select pg_tablespace_location(oid) from pg_tablespace where spcname = 'fast'": "../../tablespaces/" + filepath.Base(spaceOf(t, data)),
	} {
		if got := s.sql(t, sql); got != want {
			t.Errorf("%s = %s, want %s", sql, got, want)
		}
	}
}
