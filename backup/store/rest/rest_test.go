package rest

import (
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/backup/store"
	"github.com/trivet-ha/trivet/backup/store/retry"
	"github.com/trivet-ha/trivet/backup/store/storetest"
	"github.com/trivet-ha/trivet/internal/testserver"
)

var without = []store.Kind{store.Log, store.Record}

func opener(t *testing.T, url string) storetest.Opener {
	return func() store.Store {
		s, err := New(Config{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func TestOnRcloneServe(t *testing.T) {
	storetest.Run(t, storetest.Options{Without: without, LastWriterWins: true, HalfFilesShow: true}, func(t *testing.T) storetest.Opener {
		dir := filepath.Join(t.TempDir(), "repository")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		return opener(t, testserver.StartREST(t, dir))
	})
}

// server speaks the protocol as rest-server does: it needs to be told to create, it never overwrites, and it
// answers listings in the old version if so asked.
type server struct {
	old      bool // listings of version 1 only
	noRanges bool
	mu       sync.Mutex
	created  bool
	files    map[string][]byte
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/")
	data, there := s.files[path]
	switch {
	case r.Method == http.MethodPost && r.URL.Query().Get("create") == "true":
		s.created = true
	case !s.created:
		http.NotFound(w, r)
	case strings.HasSuffix(path, "/"):
		s.list(w, path)
	case r.Method == http.MethodPost && there:
		http.Error(w, "file already exists", http.StatusForbidden)
	case r.Method == http.MethodPost:
		if body, err := io.ReadAll(r.Body); err == nil {
			s.files[path] = body
		}
	case !there:
		http.NotFound(w, r)
	case r.Method == http.MethodDelete:
		delete(s.files, path)
	case s.noRanges:
		r.Header.Del("Range")
		fallthrough
	default:
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(data)))
	}
}

func (s *server) list(w http.ResponseWriter, dir string) {
	type entry struct {
		Name string `json:"name"`
		Size int    `json:"size"`
	}
	names, entries := []string{"not-an-id"}, []entry{{"not-an-id", 5}}
	for p, data := range s.files {
		if name, ok := strings.CutPrefix(p, dir); ok {
			names, entries = append(names, name), append(entries, entry{name, len(data)})
		}
	}
	if s.old {
		w.Header().Set("Content-Type", "application/vnd.x.restic.rest.v1")
		_ = json.NewEncoder(w).Encode(names)
		return
	}
	w.Header().Set("Content-Type", listV2)
	_ = json.NewEncoder(w).Encode(entries)
}

func TestOnAServerThatNeverOverwrites(t *testing.T) {
	for _, s := range []*server{{}, {old: true}, {noRanges: true}} {
		opts := storetest.Options{Without: without, LargeBytes: 1 << 20, Files: 100}
		storetest.Run(t, opts, func(t *testing.T) storetest.Opener {
			handler := &server{old: s.old, noRanges: s.noRanges, created: true, files: map[string][]byte{}}
			srv := httptest.NewServer(handler)
			t.Cleanup(srv.Close)
			return opener(t, srv.URL)
		})
	}
}

func TestTheFirstFileCreatesTheRepository(t *testing.T) {
	handler := &server{files: map[string][]byte{}}
	srv := httptest.NewServer(handler)
	defer srv.Close()
	s := opener(t, srv.URL+"/")()
	pack := storetest.HandleOf(store.Pack, []byte("x"))
	if err := s.Save(t.Context(), pack, []byte("x")); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("a pack without a repository: got %v, want ErrNotExist", err)
	}
	key := storetest.HandleOf(store.Key, []byte("x"))
	if err := s.Save(t.Context(), key, []byte("x")); err != nil {
		t.Errorf("a key begins a repository: %v", err)
	}
	if !handler.created {
		t.Error("the server was not asked to create")
	}
}

func TestAListingThatBreaksOffIsAnError(t *testing.T) {
	for _, body := range []string{"", "[", `[{"name":"`, `[{"name":"a","size":1}`, "<html>"} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", listV2)
			_, _ = io.WriteString(w, body)
		}))
		err := opener(t, srv.URL)().List(t.Context(), store.Pack, "", func(store.Info) error { return nil })
		if err == nil {
			t.Errorf("%q: no error", body)
		}
		srv.Close()
	}
}

func TestAMissingDirectoryInNoRepositoryIsAnError(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	err := opener(t, srv.URL)().List(t.Context(), store.Pack, "", func(store.Info) error { return nil })
	if !errors.Is(err, store.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist: an empty listing would be a lie", err)
	}
}

func TestSecretsStayOutOfErrors(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pw, ok := r.BasicAuth(); !ok || user != "me" || pw != "hunter2" {
			t.Errorf("got user %q password %q", user, pw)
		}
		http.Error(w, "no", http.StatusUnauthorized)
	}))
	url := strings.Replace(srv.URL, "http://", "http://me:hunter2@", 1)
	s, err := New(Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	h := store.Handle{Kind: store.Config}
	_, err = s.Stat(t.Context(), h)
	if !errors.Is(err, store.ErrDenied) {
		t.Errorf("got %v, want ErrDenied", err)
	}
	srv.Close()
	_, down := s.Stat(t.Context(), h)
	_, bad := New(Config{URL: "http://me:hunter2@ho st/"})
	_, scheme := New(Config{URL: "ftp://me:hunter2@host/"})
	for _, err := range []error{err, down, bad, scheme} {
		if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(s.String(), "hunter2") {
			t.Errorf("an error must come, without the password: %v", err)
		}
	}
}

func TestPasswordsDoNotFollowARedirectToAnotherHost(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the other server was asked for %s", r.URL)
	}))
	defer other.Close()
	srv := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer srv.Close()
	if _, err := opener(t, srv.URL)().Stat(t.Context(), store.Handle{Kind: store.Config}); err == nil {
		t.Error("no error")
	}
}

func TestWhichAnswersAreFinal(t *testing.T) {
	for code, final := range map[int]bool{400: true, 401: true, 403: true, 404: true, 405: true, 408: false, 429: false, 500: false, 503: false, 507: true} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
		_, err := opener(t, srv.URL)().Stat(t.Context(), store.Handle{Kind: store.Config})
		if err == nil || retry.IsPermanent(err) != final {
			t.Errorf("%d: %v, final: %t", code, err, !final)
		}
		srv.Close()
	}
}

func TestAnUnknownAuthorityIsNamed(t *testing.T) {
	srv := httptest.NewUnstartedServer(&server{created: true, files: map[string][]byte{}})
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	_, err := opener(t, srv.URL)().Stat(t.Context(), store.Handle{Kind: store.Config})
	if err == nil || !retry.IsPermanent(err) || !strings.Contains(err.Error(), "--cacert") {
		t.Errorf("got %v", err)
	}
	s, err := New(Config{URL: srv.URL, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stat(t.Context(), store.Handle{Kind: store.Config}); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
