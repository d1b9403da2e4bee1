package config

import (
	"fmt"
	"strconv"
	"time"
)

// Affinity keeps a client on one endpoint by a cookie. It survives a reload and respects a drain: a client whose endpoint is
// gone gets another one, and a new cookie.
type Affinity struct {
	// The cookie's name.
	Cookie CookieName `yaml:"cookie,required" scalar:"*" aka:"name"`
	// Whose cookie it is.
	Mode AffinityMode `yaml:"mode" default:"insert"`
	// How long the browser keeps it; 0 is until it is closed. With mode: learn, how long a value is remembered after its
	// last use; 0 is an hour.
	TTL time.Duration `yaml:"ttl" default:"0" aka:"max_age maxlife expires"`
	// Send it over HTTPS only.
	Secure bool `yaml:"secure" default:"false"`
	// Hide it from scripts, which have no use for it.
	HTTPOnly bool `yaml:"http_only" default:"true" aka:"httponly"`
	// Whether it is sent with requests from other sites. The default lets a link from elsewhere find its session.
	SameSite SameSite `yaml:"same_site" default:"lax" aka:"samesite"`
	// The part of the site that it is for.
	Path URLPath `yaml:"path" default:"/"`
	// The domain it is for. The default is the host that was asked for.
	Domain string `yaml:"domain"`
}

// AffinityMode is whose cookie it is.
type AffinityMode string

// The modes.
const (
	// Trivet's own: it names the endpoint.
	AffinityInsert AffinityMode = "insert"
	// The application's: Trivet remembers which endpoint set which value.
	AffinityLearn AffinityMode = "learn"
)

// Values is every mode.
func (AffinityMode) Values() []string {
	return []string{string(AffinityInsert), string(AffinityLearn)}
}

// SameSite is a cookie's SameSite attribute.
type SameSite string

// The values of the attribute.
const (
	SameSiteLax    SameSite = "lax"    // with links from other sites
	SameSiteStrict SameSite = "strict" // only from the site itself
	SameSiteNone   SameSite = "none"   // always; needs secure
)

// Values is every value.
func (SameSite) Values() []string {
	return []string{string(SameSiteLax), string(SameSiteStrict), string(SameSiteNone)}
}

func (a *Affinity) validate(c *checker, path string) {
	if a.Mode == AffinityLearn {
		for _, key := range []string{"secure", "http_only", "same_site", "path", "domain"} {
			if c.has(join(path, key)) {
				c.failKey(join(path, key), "has no effect with mode: learn: the application sets the cookie", "remove it")
			}
		}
	}
	if a.SameSite == SameSiteNone && !a.Secure && a.Mode == AffinityInsert {
		c.fail(join(path, "same_site"), "none is refused by browsers without secure", "write secure: true")
	}
	if a.Domain != "" && !isHostName(a.Domain) {
		c.fail(join(path, "domain"), fmt.Sprintf("%s is not a domain", strconv.Quote(a.Domain)), "write example.com")
	}
}
