package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/trivet-ha/trivet/config"
)

// Node is what the API shows and steers. An error that is not an *Error is answered with 500, and config.Errors with 422.
type Node interface {
	Viewer
	Steerer
	Keeper
	Historian
	Supervisor
	Backupper
	Reporter
}

// Viewer tells what is.
type Viewer interface {
	Status() Status
	// ExplainRequest answers for every listener that the question fits.
	ExplainRequest(Question) ([]Explanation, error)
	// ExplainEndpoint answers for every pool that has the address.
	ExplainEndpoint(address string) ([]EndpointExplanation, error)
}

// Steerer changes endpoints until the process ends; a reload keeps what it changed.
type Steerer interface {
	ChangeEndpoint(pool, address string, c Change) (Endpoint, error)
	AddEndpoint(pool string, e NewEndpoint) (Endpoint, error)
	RemoveEndpoint(pool, address string) error
}

// Keeper changes the whole process.
type Keeper interface {
	// ReloadFile loads the configuration file again, and returns when it is in force.
	ReloadFile(context.Context) error
	// Upgrade starts the program that now stands in this one's place, and returns when that serves.
	Upgrade(context.Context) error
}

// Change is what is to become of an endpoint; nil leaves as it is.
type Change struct {
	Admin  *Admin `json:"admin,omitempty"`
	Weight *int   `json:"weight,omitempty"`
}

// NewEndpoint is an endpoint to add.
type NewEndpoint struct {
	Address     string `json:"address"`
	Weight      int    `json:"weight,omitempty"` // 0 is 1
	Priority    int    `json:"priority,omitempty"`
	MaxRequests int    `json:"max_requests,omitempty"` // 0 is no limit
}

// Error is an answer of the API that says no.
type Error struct {
	Status   int           `json:"-"`                  // of the HTTP response
	Message  string        `json:"error"`              // what is wrong
	Hint     string        `json:"hint,omitempty"`     // what to do
	Problems config.Errors `json:"problems,omitempty"` // of a configuration file that is not valid

	nobody bool
}

// Nobody reports whether a Client has found that no process answers, as opposed to one that can't be asked.
func (e *Error) Nobody() bool { return e.nobody }

func (e *Error) Error() string {
	if len(e.Problems) > 0 {
		return e.Message + "\n" + e.Problems.Error()
	}
	return e.Message
}

// NotFound is an Error with status 404.
func NotFound(message, hint string) *Error {
	return &Error{Status: http.StatusNotFound, Message: message, Hint: hint}
}

// Invalid is an Error with status 400: the question makes no sense.
func Invalid(message, hint string) *Error {
	return &Error{Status: http.StatusBadRequest, Message: message, Hint: hint}
}

// Conflict is an Error with status 409: it makes sense, but not now.
func Conflict(message, hint string) *Error {
	return &Error{Status: http.StatusConflict, Message: message, Hint: hint}
}

// asError is err as the API answers it.
func asError(err error) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	if problems, invalid := config.IsInvalid(err); invalid {
		return &Error{
			Status: http.StatusUnprocessableEntity, Message: "the configuration file is not valid; nothing has changed",
			Hint: "trivet check shows the same", Problems: problems,
		}
	}
	return &Error{Status: http.StatusInternalServerError, Message: err.Error()}
}
