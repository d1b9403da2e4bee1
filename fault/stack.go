package fault

import (
	"errors"
	"fmt"
	"strings"
)

// Stack is policies around a function, the outermost first. It does not change,
// and may be shared by any number of calls.
type Stack struct{ policies []Policy }

// New returns the stack of the policies, the outermost first. The error names
// everything that is wrong with them.
func New(policies ...Policy) (*Stack, error) {
	s := &Stack{policies: append([]Policy(nil), policies...)}
	var errs []error
	for i := range s.policies {
		s.policies[i].refusals = &refusals{}
		if err := s.checkAt(i); err != nil {
			errs = append(errs, fmt.Errorf("policy %d of %d: %w", i+1, len(s.policies), err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s, nil
}

// Must returns the stack, or panics with the error: for stacks that are part of
// the program's text.
func Must(s *Stack, err error) *Stack {
	if err != nil {
		panic(err)
	}
	return s
}

// Policies returns the policies, the outermost first. They must not be modified.
// A nil stack has none.
func (s *Stack) Policies() []Policy {
	if s == nil {
		return nil
	}
	return s.policies
}

func (s *Stack) String() string {
	var b strings.Builder
	for _, p := range s.policies {
		b.WriteString(p.Kind.String())
		switch p.Kind {
		case KindTimeout:
			fmt.Fprintf(&b, " %v", p.Wait)
		case KindRetry:
			fmt.Fprintf(&b, " %d", p.Retry.Attempts)
		}
		b.WriteByte('(')
	}
	return b.String() + "f" + strings.Repeat(")", len(s.policies))
}

// checkAt checks a policy by itself and beside those around it.
func (s *Stack) checkAt(i int) error {
	p := &s.policies[i]
	if p.check == nil {
		return errors.New("it was not made by a function of package fault")
	}
	if err := p.check(); err != nil {
		return err
	}
	for j := range s.policies[:i] {
		outer := &s.policies[j]
		switch {
		case p.Kind == KindRetry && outer.Kind == KindRetry:
			return errors.New("a retry inside a retry multiplies the attempts: three times three are nine")
		case p.Kind == KindRetry && outer.Kind == KindHedge:
			return errors.New("a retry inside a hedge multiplies the attempts: the hedge belongs inside")
		case p.Kind == KindHedge && outer.Kind == KindHedge:
			return errors.New("a hedge inside a hedge multiplies the attempts")
		case p.Kind == outer.Kind && p.same(outer):
			return fmt.Errorf("the same %v stands further out already: it would count each call twice", p.Kind)
		}
	}
	return nil
}

// same reports whether two policies of a kind share their state.
func (p *Policy) same(o *Policy) bool {
	switch p.Kind {
	case KindTimeout, KindElse, KindPanics:
		return false
	case KindFallback:
		return p.Answer == o.Answer
	}
	return p.Learned == o.Learned && p.Breaker == o.Breaker && p.Bulkhead == o.Bulkhead && p.Adaptive == o.Adaptive &&
		p.Limit == o.Limit && p.Each == o.Each && p.Shed == o.Shed
}
