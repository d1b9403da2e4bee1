package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/trivet-ha/trivet/avail/report"
	"github.com/trivet-ha/trivet/config"
)

// Reporter says whether promises were kept.
type Reporter interface {
	// Report is about a window that ends now; 0 is that of the objectives.
	Report(ctx context.Context, window time.Duration) (report.Report, error)
}

func (h handler) report(r *http.Request) (any, error) {
	window := time.Duration(0)
	if text := r.URL.Query().Get("window"); text != "" {
		var err error
		if window, err = config.ParseDuration(text); err != nil {
			return nil, Invalid("window: "+err.Error(), "send ?window=30d")
		}
	}
	return h.node.Report(r.Context(), window)
}

// Report asks whether promises were kept in a window, as in 30d; "" is that of the objectives.
func (c *Client) Report(ctx context.Context, window string) (report.Report, error) {
	path := "/v1/report"
	if window != "" {
		path += "?window=" + url.QueryEscape(window)
	}
	return ask[report.Report](ctx, c, http.MethodGet, path, nil)
}
