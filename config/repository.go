package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/trivet-ha/trivet/backup/store/location"
)

// Repository is where backups are kept, in the format of restic: restic reads it, and writes it. It is made once, by `trivet
// repo init`.
type Repository struct {
	// The repository's name.
	Name Name `yaml:",name"`
	// Where it is: a folder, `s3:https://host/bucket/prefix` or `s3://bucket/prefix`, `sftp:user@host:/path`,
	// `rest:https://host:8000/path`, or `rclone:remote:path`. A relative folder begins from that of the configuration file.
	Store StoreLocation `yaml:"store,required" aka:"location repo path url"`
	// Its password. Whoever loses it loses all that is in there: keep it somewhere else, too.
	Password Secret `yaml:"password"`
	// A program that prints the password, started without a shell when the repository is opened.
	PasswordCommand []string `yaml:"password_command"`
	// Who says to the store that he may. The default is what the environment says (AWS_ACCESS_KEY_ID and so on).
	Credentials Credentials `yaml:"credentials" aka:"access_key auth login"`
	// More settings of the store: connections, s3.region, s3.bucket-lookup, s3.storage-class, sftp.command, sftp.key,
	// sftp.known-hosts, rclone.program, rclone.args.
	Options []StoreOption `yaml:"options" aka:"option extended"`
	// Trust the certificates in this PEM file, and no others.
	CA FilePath `yaml:"ca" aka:"cacert ca_file"`
	// Show this certificate, with its key (PEM), to the store.
	ClientCert FilePath `yaml:"client_cert" aka:"tls_client_cert"`
	// How fast bytes may go to the store and come from it.
	Bandwidth Bandwidth `yaml:"bandwidth" aka:"limits limit"`
	// Remove nothing: no old snapshot is forgotten here, and nothing pruned. That is our promise; for one that holds against whoever
	// breaks into this machine, give it credentials that can't delete, or use object_lock.
	AppendOnly bool `yaml:"append_only" default:"false" aka:"immutable worm"`
	// Have S3 hold what is written back from deletion. The bucket must have object lock enabled.
	ObjectLock *ObjectLock `yaml:"object_lock" aka:"lock retention"`
	// How hard new data is pressed.
	Compression Compression `yaml:"compression" default:"fastest"`
	// The size at which files in the repository are closed. Larger ones suit stores that are slow to answer.
	PackSize Size `yaml:"pack_size" default:"16MiB" min:"4MiB" max:"128MiB"`
	// Where what can be fetched again is kept, so that an unchanged folder costs no look into the repository. The default is
	// the folder that systemd gives ($CACHE_DIRECTORY, $STATE_DIRECTORY), or else that of the user.
	Cache FilePath `yaml:"cache" aka:"cache_dir"`
	// How long to wait for others that hold the repository.
	LockWait time.Duration `yaml:"lock_wait" default:"10m" max:"1d" aka:"retry_lock"`
	// Remove what no snapshot needs any more. It never stands in the way of backups.
	Prune *Prune `yaml:"prune" aka:"gc"`
	// See whether everything is there and can be read.
	Verify *Verify `yaml:"verify" aka:"check scrub"`
}

// Credentials say who we are to a store.
type Credentials struct {
	// The access key of S3, or the user of a REST server.
	ID string `yaml:"id,required" aka:"access_key user username key_id"`
	// The secret key, or the password.
	Secret Secret `yaml:"secret" aka:"secret_key password"`
}

// StoreOption is a setting of a store.
type StoreOption struct {
	// The setting's name.
	Name Name `yaml:",name"`
	// Its value.
	Value string `yaml:"value,required" scalar:"*"`
}

// Bandwidth bounds what goes to and fro.
type Bandwidth struct {
	// Bytes to the store. 0 is no bound.
	Upload Rate `yaml:"upload" default:"0/s" aka:"up send"`
	// Bytes from the store. 0 is no bound.
	Download Rate `yaml:"download" default:"0/s" aka:"down receive"`
}

// ObjectLock holds what is written back from deletion.
type ObjectLock struct {
	// Who may lift it.
	Mode LockMode `yaml:"mode" default:"governance"`
	// How long. What snapshots still need is extended.
	Keep time.Duration `yaml:"keep,required" scalar:"*" min:"1d" max:"3650d"`
}

// LockMode says who may lift an object lock.
type LockMode string

// The modes.
const (
	Governance LockMode = "governance" // those with a special right
	Compliance LockMode = "compliance" // nobody
)

// Values is every mode.
func (LockMode) Values() []string { return []string{string(Governance), string(Compliance)} }

// Compression is how hard data is pressed.
type Compression string

// The levels.
const (
	CompressionOff     Compression = "off"     // for what is compressed already
	CompressionFastest Compression = "fastest" // costs next to nothing
	CompressionDefault Compression = "default" // what restic does
	CompressionBetter  Compression = "better"  // half as fast
	CompressionBest    Compression = "best"    // several times slower than the disk
)

// Values is every level.
func (Compression) Values() []string {
	return []string{string(CompressionOff), string(CompressionFastest), string(CompressionDefault), string(CompressionBetter), string(CompressionBest)}
}

// Prune is when what is not needed is removed.
type Prune struct {
	// How often.
	Every time.Duration `yaml:"every" scalar:"*" min:"1m" max:"365d" aka:"interval"`
	// When, as cron writes it.
	Schedule Cron `yaml:"schedule" aka:"cron at"`
	// How much later at most. Each repository is late by its own part of it, always the same.
	Jitter time.Duration `yaml:"jitter" default:"0s" max:"1d" aka:"randomized_delay splay"`
	// What becomes of a run that was due while nobody ran.
	Missed Missed `yaml:"missed" default:"run" aka:"persistent"`
	// How much of the repository may stay unused, to save copying.
	MaxUnused Percent `yaml:"max_unused" default:"5%" min:"0%" max:"100%"`
	// How much is copied in one run at most. 0 is no bound.
	MaxRepack Size `yaml:"max_repack" default:"0" aka:"max_repack_size"`
}

// Verify is when a repository is looked through.
type Verify struct {
	// How often.
	Every time.Duration `yaml:"every" scalar:"*" min:"1m" max:"365d" aka:"interval"`
	// When, as cron writes it.
	Schedule Cron `yaml:"schedule" aka:"cron at"`
	// How much later at most. Each repository is late by its own part of it, always the same.
	Jitter time.Duration `yaml:"jitter" default:"0s" max:"1d" aka:"randomized_delay splay"`
	// What becomes of a run that was due while nobody ran.
	Missed Missed `yaml:"missed" default:"run" aka:"persistent"`
	// In how many runs all data is read, another part each time. 1 reads all of it every time; 0 reads none, and looks only
	// whether everything is there.
	Parts int `yaml:"parts" default:"10" min:"0" max:"256" aka:"rotate subset"`
}

// StoreLocation is where a repository is, as people write it; a folder is absolute.
type StoreLocation string

// IsLocal is the folder of a repository on a file system of this machine; "" if it is elsewhere.
func (s StoreLocation) IsLocal() string {
	l, err := location.Parse(string(s))
	if err != nil || l.Scheme != location.Local {
		return ""
	}
	return l.Path
}

func (s StoreLocation) scheme() location.Scheme {
	l, err := location.Parse(string(s))
	if err != nil {
		return ""
	}
	return l.Scheme
}

func parseStoreLocation(text string) (StoreLocation, error) {
	l, err := location.Parse(text)
	if err != nil {
		return "", wrong("is no place for a repository: "+err.Error(), "write a folder, s3:https://host/bucket, sftp:user@host:/path, rest:https://host:8000/ or rclone:remote:path")
	}
	if l.Scheme == location.Local {
		return StoreLocation(l.Path), nil
	}
	return StoreLocation(text), nil
}

// Repository is the repository of that name, or nil.
func (c *Config) Repository(name Name) *Repository {
	i := slices.IndexFunc(c.Repositories, func(r Repository) bool { return r.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Repositories[i]
}

func (r *Repository) validate(c *checker, path string) {
	c.oneOfKeys(path, "password", "password_command")
	if c.has(join(path, "password_command")) && (len(r.PasswordCommand) == 0 || r.PasswordCommand[0] == "") {
		c.fail(join(path, "password_command"), "names no program", "write password_command: [pass, show, vault]")
	}
	for i := range c.config.Repositories {
		other := &c.config.Repositories[i]
		if other == r {
			break
		}
		if other.Store == r.Store && r.Store != "" {
			c.fail(join(path, "store"), fmt.Sprintf("is that of the repository %s", other.Name), "keep one of the two: jobs of one repository never meet only if it has one name")
		}
	}
	for _, o := range r.Options {
		if !slices.Contains(location.Settings(), string(o.Name)) {
			c.failKey(join(path, "options."+string(o.Name)), fmt.Sprintf("%q is no setting of a store", o.Name), didYouMean(string(o.Name), location.Settings()))
		}
	}
	if r.AppendOnly && r.Prune != nil {
		c.failKey(join(path, "prune"), "contradicts append_only", "remove one of the two")
	}
	if r.ObjectLock != nil && r.Store != "" && r.Store.scheme() != location.S3 {
		c.failKey(join(path, "object_lock"), "is for S3, and this is another store", "remove it")
	}
	if scheme := r.Store.scheme(); c.has(join(path, "credentials")) && scheme != "" && scheme != location.S3 && scheme != location.REST {
		c.failKey(join(path, "credentials"), "are for S3 and REST servers, and this is another store", "remove them; an SFTP server wants a key: options: {sftp.key: FILE}")
	}
}

func (k *Credentials) validate(c *checker, path string) {
	if k.ID != "" && k.Secret.IsZero() && !c.isBroken(join(path, "secret")) {
		c.fail(path, "has no secret", "write secret_file: FILE, or secret: ${NAME}")
	}
}

func (p *Prune) validate(c *checker, path string)  { c.timing(path, p.Every, p.Schedule, true) }
func (v *Verify) validate(c *checker, path string) { c.timing(path, v.Every, v.Schedule, true) }

// oneOfKeys reports when not exactly one of keys, or of their _file forms, is written below path.
func (c *checker) oneOfKeys(path string, keys ...string) {
	written := map[string]bool{}
	for _, key := range keys {
		if c.has(join(path, key)) || c.has(join(path, key+"_file")) || c.isBroken(join(path, key)) {
			written[key] = true
		}
	}
	switch names := slices.Sorted(maps.Keys(written)); len(names) {
	case 0:
		c.failKey(path, "has none of "+strings.Join(keys, ", "), "write "+keys[0]+"_file: FILE")
	case 1:
	default:
		c.failKey(join(path, names[1]), names[0]+" and "+names[1]+" exclude each other", "keep one of the two")
	}
}
