package lint

import (
	"fmt"
	"os"
	"time"

	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/internal/keyring"
)

// Certificates gives the findings about the files of certificates and keys that a valid configuration names.
func Certificates(c *config.Config, now time.Time) []Finding {
	return findAll(c, []rule{
		{"certificate-unusable", Error, "the process can't begin with it, and a reload is refused", certificateUnusable},
		{"certificate-expired", Error, "every client refuses it", func(c *config.Config, r report) { certificateExpired(c, now, r) }},
		{
			"certificate-expires-soon", Warning, "from that day on every client refuses it; whoever renews it seems to have missed its time",
			func(c *config.Config, r report) { certificateExpiresSoon(c, now, r) },
		},
		{"key-readable", Error, "whoever can read the key can pass for the site, and no log will tell", keyReadable},
	})
}

// soon is how long before its end a certificate should have been renewed; a short-lived one in its last quarter.
const soon = 14 * 24 * time.Hour

func eachCertificate(c *config.Config, visit func(cert *config.Certificate, path string)) {
	eachListener(c, func(l *config.Listener, path string) {
		if l.TLS == nil {
			return
		}
		for i := range l.TLS.Certificates {
			visit(&l.TLS.Certificates[i], fmt.Sprintf("%s.tls.certificates[%d]", path, i))
		}
	})
	each(c, func(p *config.Pool, path string) {
		if p.TLS != nil && p.TLS.Certificate != nil {
			visit(p.TLS.Certificate, path+".tls.certificate")
		}
	})
}

// lifetime is what a certificate says of itself; what is the matter with one that can't be read is for certificateUnusable.
func lifetime(cert *config.Certificate) (from, until time.Time, err error) {
	pair, err := keyring.Pair{Cert: string(cert.Cert), Key: string(cert.Key)}.Load()
	if err != nil {
		return from, until, err
	}
	return pair.Leaf.NotBefore, pair.Leaf.NotAfter, nil
}

func certificateUnusable(c *config.Config, report report) {
	eachCertificate(c, func(cert *config.Certificate, path string) {
		if _, _, err := lifetime(cert); err != nil {
			report(path, err.Error(), "a certificate and its own key, both in PEM, that this user can read")
		}
	})
}

func certificateExpired(c *config.Config, now time.Time, report report) {
	eachCertificate(c, func(cert *config.Certificate, path string) {
		if _, until, err := lifetime(cert); err == nil && !now.Before(until) {
			report(path+".cert", fmt.Sprintf("%s is valid until %s", cert.Cert, until.UTC().Format(time.DateOnly)), "a renewed certificate to the same file: it is taken up by itself")
		}
	})
}

func certificateExpiresSoon(c *config.Config, now time.Time, report report) {
	eachCertificate(c, func(cert *config.Certificate, path string) {
		from, until, err := lifetime(cert)
		left := until.Sub(now)
		if err == nil && left > 0 && left < min(soon, until.Sub(from)/4) {
			report(path+".cert", fmt.Sprintf("%s is valid for another %d days", cert.Cert, int(left.Hours()/24)), "a renewed certificate to the same file: it is taken up by itself")
		}
	})
}

func keyReadable(c *config.Config, report report) {
	eachCertificate(c, func(cert *config.Certificate, path string) {
		if info, err := os.Stat(string(cert.Key)); err == nil && info.Mode().Perm()&0o004 != 0 {
			report(path+".key", fmt.Sprintf("%s can be read by everybody on this machine", cert.Key), "chmod 600 "+string(cert.Key))
		}
	})
}
