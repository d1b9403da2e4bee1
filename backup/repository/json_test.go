package repository

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"reflect"
	"strconv"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// referenceNode is the node as encoding/json would write and read it.
type referenceNode struct {
	Name               string                     `json:"name"`
	Type               string                     `json:"type"`
	Mode               fs.FileMode                `json:"mode,omitempty"`
	ModTime            time.Time                  `json:"mtime"`
	AccessTime         time.Time                  `json:"atime"`
	ChangeTime         time.Time                  `json:"ctime"`
	UID                uint32                     `json:"uid"`
	GID                uint32                     `json:"gid"`
	User               string                     `json:"user,omitempty"`
	Group              string                     `json:"group,omitempty"`
	Inode              uint64                     `json:"inode,omitempty"`
	DeviceID           uint64                     `json:"device_id,omitempty"`
	Size               uint64                     `json:"size,omitempty"`
	Links              uint64                     `json:"links,omitempty"`
	LinkTarget         string                     `json:"linktarget,omitempty"`
	LinkTargetRaw      []byte                     `json:"linktarget_raw,omitempty"`
	ExtendedAttributes []Xattr                    `json:"extended_attributes,omitempty"`
	GenericAttributes  map[string]json.RawMessage `json:"generic_attributes,omitempty"`
	Device             uint64                     `json:"device,omitempty"`
	Content            []ID                       `json:"content"`
	Subtree            *ID                        `json:"subtree,omitempty"`
	Error              string                     `json:"error,omitempty"`
}

func reference(n *Node) referenceNode {
	quoted := strconv.Quote(n.Name)
	r := referenceNode{
		quoted[1 : len(quoted)-1], string(n.Type), n.Mode, n.ModTime, n.AccessTime, n.ChangeTime, n.UID, n.GID, n.User, n.Group, n.Inode, n.DeviceID,
		n.Size, n.Links, n.LinkTarget, nil, n.Xattrs, n.GenericAttributes, n.Device, n.Content, n.Subtree, n.Error,
	}
	if !utf8.ValidString(n.LinkTarget) {
		r.LinkTargetRaw = []byte(n.LinkTarget)
	}
	return r
}

func anyText() *rapid.Generator[string] {
	return rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
		rapid.SampledFrom([]string{"", "plain", "<&>\"\\", "\u2028\x00\x7f", "\xff\xfe", "ü"}))
}

func anyTime() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		zone := time.FixedZone("", 60*rapid.IntRange(-14*60, 14*60).Draw(t, "zone"))
		return time.Unix(rapid.Int64Range(-60_000_000_000, 250_000_000_000).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).In(zone)
	})
}

func anyNode() *rapid.Generator[*Node] {
	return rapid.Custom(func(t *rapid.T) *Node {
		n := &Node{
			Name: anyText().Draw(t, "name"), Type: rapid.SampledFrom([]NodeType{TypeFile, TypeDir, TypeSymlink, TypeFifo}).Draw(t, "type"),
			Mode: fs.FileMode(rapid.Uint32().Draw(t, "mode")), ModTime: anyTime().Draw(t, "m"), AccessTime: anyTime().Draw(t, "a"), ChangeTime: anyTime().Draw(t, "c"),
			UID: rapid.Uint32().Draw(t, "uid"), GID: rapid.Uint32().Draw(t, "gid"), User: rapid.String().Draw(t, "user"), Group: rapid.String().Draw(t, "group"),
			Inode: rapid.Uint64().Draw(t, "inode"), DeviceID: rapid.Uint64().Draw(t, "dev"), Size: rapid.Uint64().Draw(t, "size"), Links: rapid.Uint64().Draw(t, "links"),
			LinkTarget: anyText().Draw(t, "target"), Device: rapid.Uint64().Draw(t, "rdev"), Error: rapid.String().Draw(t, "error"),
		}
		if n.Name == "" {
			n.Name = "x"
		}
		for range rapid.IntRange(0, 3).Draw(t, "xattrs") {
			n.Xattrs = append(n.Xattrs, Xattr{rapid.String().Draw(t, "xname"), rapid.SliceOf(rapid.Byte()).Draw(t, "xvalue")})
		}
		if rapid.Bool().Draw(t, "generic") {
			n.GenericAttributes = map[string]json.RawMessage{"windows.creation_time": json.RawMessage(`"QUJD"`), "a": json.RawMessage(`{"b":[1,2]}`)}
		}
		if k := rapid.IntRange(-1, 3).Draw(t, "content"); k >= 0 {
			n.Content = make([]ID, k)
			for i := range n.Content {
				n.Content[i] = ID{byte(i), 0xab}
			}
		}
		if rapid.Bool().Draw(t, "subtree") {
			n.Subtree = &ID{7}
		}
		return n
	})
}

func TestNodesAreWrittenAsResticWritesThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := anyNode().Draw(t, "node")
		want, err := json.Marshal(reference(n))
		if err != nil {
			t.Fatal(err)
		}
		got, _ := n.MarshalJSON()
		if !bytes.Equal(got, want) {
			t.Fatalf("\ngot  %s\nwant %s", got, want)
		}
		var back Node
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatal(err)
		}
		again, _ := back.MarshalJSON()
		if !bytes.Equal(again, want) || back.Name != n.Name || back.LinkTarget != n.LinkTarget || !back.ModTime.Equal(n.ModTime) {
			t.Fatalf("read back\n%s\nwant\n%s", again, want)
		}
	})
}

func TestTimesBeyondTheCalendarAreBroughtIntoIt(t *testing.T) {
	n := sampleNode()
	n.ModTime = time.Date(12345, 6, 7, 8, 9, 10, 11, time.UTC)
	n.AccessTime = time.Date(-5, 6, 7, 8, 9, 10, 11, time.UTC)
	data, _ := n.MarshalJSON()
	var back Node
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if back.ModTime.Year() != 9999 || back.AccessTime.Year() != 0 {
		t.Errorf("years %d and %d", back.ModTime.Year(), back.AccessTime.Year())
	}
}

func TestTreesKeepTheirOrder(t *testing.T) {
	b := NewTreeBuilder()
	add := func(name string) error {
		n := sampleNode()
		n.Name = name
		return b.Add(n)
	}
	if err := errors.Join(add("a"), add("b\xff"), add("c")); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"c", "b", ""} {
		if err := add(bad); !errors.Is(err, ErrTreeOrder) {
			t.Errorf("%q after c: %v", bad, err)
		}
	}
	tree, err := ParseTree(b.json())
	if err != nil || len(tree.Nodes) != 3 || tree.Find("b\xff") == nil || tree.Find("d") != nil {
		t.Errorf("%+v, %v", tree, err)
	}
	for _, bad := range []string{
		`{"nodes":[{"name":"b","type":"file"},{"name":"a","type":"file"}]}`,
		`{"nodes":[{"name":"a","type":"file"},{"name":"a","type":"file"}]}`,
	} {
		if _, err := ParseTree([]byte(bad)); !errors.Is(err, ErrTreeOrder) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	b.Reset()
	if got := string(b.json()); got != "{\"nodes\":[]}\n" {
		t.Errorf("the empty tree is %q", got)
	}
}

func TestTreeWithUnknownFieldsIsRead(t *testing.T) {
	tree, err := ParseTree([]byte(` { "later" : {"x":[1,-2.5e3,null,true,"\ud83d\ude00"]}, "nodes" : [ {"type":"dir","future":[{}],"name":"a","content":null,"subtree":null} ] , "more":false } ` + "\n"))
	if err != nil || len(tree.Nodes) != 1 || tree.Nodes[0].Name != "a" || tree.Nodes[0].Subtree != nil {
		t.Errorf("%+v, %v", tree, err)
	}
}

func TestIndexSurvivesItsJSON(t *testing.T) {
	f := &indexFile{
		supersedes: []ID{{1}, {2}},
		packs:      []indexPack{{ID{3}, []packEntry{{id: ID{4}, length: 40}, {id: ID{5}, kind: TreeBlob, offset: 40, length: 50, plain: 1000}}}, {ID{6}, nil}},
		condemned:  []condemnedPack{{indexPack{ID{7}, []packEntry{{id: ID{8}, length: 99}}}, time.Unix(1, 2).UTC(), 12345}},
		waitingFor: []string{"a", "b"},
	}
	data := appendIndexJSON(nil, f)
	back, err := parseIndex(data)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(f, back) {
		t.Errorf("got  %+v\nwant %+v", back, f)
	}
	if !json.Valid(data) {
		t.Errorf("not JSON: %s", data)
	}
	for _, bad := range []string{
		``, `[]`, `{"packs":[{"blobs":[]}]}`, `{"packs":[{"id":"00"}]}`, `{"packs":[]}x`,
		`{"packs":[{"id":"` + (ID{1}).String() + `","blobs":[{"id":"` + (ID{1}).String() + `","type":"other","offset":0,"length":40}]}]}`,
		`{"packs":[{"id":"` + (ID{1}).String() + `","blobs":[{"id":"` + (ID{1}).String() + `","type":"data","offset":4294967290,"length":40}]}]}`,
		`{"packs":[{"id":"` + (ID{1}).String() + `","blobs":[{"id":"` + (ID{1}).String() + `","type":"data","offset":-1,"length":40}]}]}`,
		`{"packs":[{"id":"` + (ID{1}).String() + `","blobs":[{"id":"` + (ID{1}).String() + `","type":"data","offset":0,"length":5}]}]}`,
	} {
		if _, err := parseIndex([]byte(bad)); err == nil {
			t.Errorf("accepted %s", bad)
		}
	}
}

func TestPackHeaderSurvives(t *testing.T) {
	s := newMasterKey().sealer()
	entries := []packEntry{{id: ID{1}, length: 100}, {id: ID{2}, kind: TreeBlob, offset: 100, length: 200, plain: 999}, {id: ID{3}, offset: 300, length: sealedOverhead}}
	pack := appendHeader(make([]byte, 332), s, entries)
	if len(pack) != 332+headerBytes(entries) {
		t.Errorf("header has %d bytes, want %d", len(pack)-332, headerBytes(entries))
	}
	got, _, err := openTail(s, pack[300:], int64(len(pack)))
	if err != nil || !reflect.DeepEqual(got, entries) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, need, err := openTail(s, pack[len(pack)-50:], int64(len(pack))); err != nil || need != headerBytes(entries) {
		t.Errorf("from too little: need %d, %v", need, err)
	}
	if _, _, err := openTail(s, pack[300:], int64(len(pack))+1); !errors.Is(err, ErrDamaged) {
		t.Errorf("another size: %v", err)
	}
}

func FuzzScanner(f *testing.F) {
	for _, s := range []string{`{}`, `[1,2,{"a":null}]`, `"\ud83d\ude00\u00e9\n"`, `-1.5e+10`, `tru`, `{"a":1,}`, `01`, "\"\xff\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := scanner{data: data}
		err := s.skip()
		if err == nil {
			err = s.end()
		}
		if deep := bytes.Count(data, []byte("["))+bytes.Count(data, []byte("{")) > maxJSONDepth; deep {
			return
		}
		if (err == nil) != json.Valid(data) {
			t.Fatalf("%q: scanner says %v, encoding/json says %v", data, err, json.Valid(data))
		}
		var want string
		if json.Unmarshal(data, &want) == nil && s.data != nil {
			s = scanner{data: data}
			if s.null() {
				return
			}
			if got, err := s.text(); err != nil || got != want {
				t.Fatalf("%q: got %q, %v, want %q", data, got, err, want)
			}
		}
	})
}

func FuzzParseTree(f *testing.F) {
	data, _ := (&Tree{[]*Node{sampleNode()}}).AppendJSON(nil)
	f.Add(data)
	f.Add([]byte(`{"nodes":[{"name":"a\\xff","type":"symlink","linktarget_raw":"/w==","extended_attributes":[{"name":"u","value":null}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tree, err := ParseTree(data)
		if err != nil {
			return
		}
		out, err := tree.AppendJSON(nil)
		if err != nil {
			return // names may be empty in what is read, never in what is written
		}
		again, err := ParseTree(out)
		if err != nil {
			t.Fatalf("what was written is not read: %v\n%s", err, out)
		}
		if out2, _ := again.AppendJSON(nil); !bytes.Equal(out, out2) {
			t.Fatalf("not stable:\n%s\n%s", out, out2)
		}
	})
}

func FuzzParseIndex(f *testing.F) {
	f.Add(appendIndexJSON(nil, &indexFile{packs: []indexPack{{ID{3}, []packEntry{{id: ID{4}, length: 40}}}}, condemned: []condemnedPack{{}}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := parseIndex(data)
		if err != nil {
			return
		}
		again, err := parseIndex(appendIndexJSON(nil, file))
		if err != nil || len(again.packs) != len(file.packs) || len(again.condemned) != len(file.condemned) {
			t.Fatalf("not read back: %v", err)
		}
		table := newBlobTable()
		for _, p := range file.packs {
			table.addPack(p.id, p.entries)
			packBytes(p.entries)
		}
	})
}

func FuzzParseHeader(f *testing.F) {
	f.Add([]byte{0, 40, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := parseHeader(data)
		if err != nil {
			return
		}
		s := sealer0
		pack := appendHeader(nil, s, entries)
		plain, err := s.open(pack[:len(pack)-headerLenBytes])
		if err != nil || !bytes.Equal(plain, data) {
			t.Fatalf("header changes on its way: %v", err)
		}
	})
}

var sealer0 = newSealer([32]byte{1}, [16]byte{2}, [16]byte{3})

func FuzzOpenTail(f *testing.F) {
	f.Add(appendHeader(nil, sealer0, []packEntry{{id: ID{1}, length: 100}}), int64(200))
	f.Fuzz(func(t *testing.T, tail []byte, size int64) {
		_, need, err := openTail(sealer0, tail, size)
		if err == nil && need > maxHeaderBytes+headerLenBytes {
			t.Fatalf("asks for %d bytes", need)
		}
	})
}

func FuzzParseSnapshot(f *testing.F) {
	data, _ := json.Marshal(&Snapshot{Tree: &ID{1}, Tags: []string{link{7, [16]byte{1}}.tag()}})
	f.Add(data)
	f.Add([]byte(`{"tree":"` + (ID{5}).String() + `","tags":["chain:18446744073709551616:-","chain:x"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseSnapshot(data)
		if err != nil {
			return
		}
		if l, ok := s.chainLink(); ok {
			if back, ok := (&Snapshot{Tags: []string{l.tag()}}).chainLink(); !ok || back != l {
				t.Fatalf("link %+v becomes %+v", l, back)
			}
		}
		if _, err := json.Marshal(s); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	c, err := newConfig()
	if err != nil {
		f.Fatal(err)
	}
	data, _ := json.Marshal(c)
	f.Add(data)
	f.Add([]byte(`{"version":2,"id":"","chunker_polynomial":"0"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig(data)
		if err == nil && (c.Version < minVersion || c.Version > maxVersion || len(c.ID) != 64) {
			t.Fatalf("accepted %+v", c)
		}
	})
}
