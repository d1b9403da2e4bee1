package avail

import "math"

// The regularised incomplete beta and gamma functions, and their inverses. Their leading factors are computed as
// Loader does ("Fast and Accurate Computation of Binomial Probabilities", 2000): as deviances, which keep all digits
// where differences of logarithms of Γ would lose nine of them at 10⁶ trials.

// convergence limits: the continued fractions need about the square root of their largest argument.
const (
	fractionSteps = 1_000_000
	fractionEnd   = 1e-15
	tiny          = 1e-300 // in place of 0 in Lentz's method
)

// binomialMass is Γ(a+b+1)/(Γ(a+1)Γ(b+1)) · xᵃ yᵇ with y = 1 − x, for a, b > 0.
func binomialMass(a, b, x, y float64) float64 {
	n := a + b
	lc := stirlingError(n) - stirlingError(a) - stirlingError(b) - deviance(a, n*x) - deviance(b, n*y)
	return math.Exp(lc) * math.Sqrt(n/(2*math.Pi*a*b))
}

// poissonMass is xᵃ e⁻ˣ / Γ(a+1), for a ≥ 0 and x ≥ 0.
func poissonMass(a, x float64) float64 {
	switch {
	case a == 0:
		return math.Exp(-x)
	case x == 0:
		return 0
	}
	return math.Exp(-stirlingError(a)-deviance(a, x)) / math.Sqrt(2*math.Pi*a)
}

// stirlingError is log Γ(n+1) less Stirling's approximation of it, for n > 0.
func stirlingError(n float64) float64 {
	if n <= 15 {
		lg, _ := math.Lgamma(n + 1)
		return lg - (n+0.5)*math.Log(n) + n - 0.5*math.Log(2*math.Pi)
	}
	s := n * n
	return (1.0/12 - (1.0/360-(1.0/1260-(1.0/1680-1.0/1188/s)/s)/s)/s) / n
}

// deviance is x·log(x/m) + m − x without the cancellation near x = m.
func deviance(x, m float64) float64 {
	if math.Abs(x-m) >= 0.1*(x+m) {
		return x*math.Log(x/m) + m - x
	}
	v := (x - m) / (x + m)
	sum, term := (x-m)*v, 2*x*v
	for j := 3.0; ; j += 2 {
		term *= v * v
		next := sum + term/j
		if next == sum {
			return sum
		}
		sum = next
	}
}

// betaRegularized is I_x(a,b), for a, b > 0 and x from 0 to 1.
func betaRegularized(x, a, b float64) float64 {
	y := 1 - x
	switch {
	case x <= 0:
		return 0
	case x >= 1:
		return 1
	case x > (a+1)/(a+b+2):
		return 1 - binomialMass(b, a, y, x)*a/(a+b)*betaFraction(y, b, a)
	}
	return binomialMass(a, b, x, y) * b / (a + b) * betaFraction(x, a, b)
}

// betaFraction is the continued fraction of I_x(a,b) (DLMF 8.17.22), by Lentz's method.
func betaFraction(x, a, b float64) float64 {
	c, d := 1.0, 1/notZero(1-(a+b)*x/(a+1))
	f := d
	for m := 1.0; m < fractionSteps; m++ {
		even := m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m))
		d, c = 1/notZero(1+even*d), notZero(1+even/c)
		f *= d * c
		odd := -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1))
		d, c = 1/notZero(1+odd*d), notZero(1+odd/c)
		f *= d * c
		if math.Abs(d*c-1) < fractionEnd {
			break
		}
	}
	return f
}

// gammaLower is P(a,x) and gammaUpper Q(a,x) = 1 − P(a,x), for a > 0 and x ≥ 0 (DLMF 8.11.4 and 8.9.2).
func gammaLower(a, x float64) float64 {
	switch {
	case x <= 0:
		return 0
	case x >= a+1:
		return 1 - gammaUpper(a, x)
	}
	sum, term := 1.0, 1.0
	for n := 1.0; n < fractionSteps && term > sum*fractionEnd; n++ {
		term *= x / (a + n)
		sum += term
	}
	return poissonMass(a, x) * sum
}

func gammaUpper(a, x float64) float64 {
	switch {
	case x <= 0:
		return 1
	case math.IsInf(x, 1):
		return 0
	case x < a+1:
		return 1 - gammaLower(a, x)
	}
	b := x + 1 - a
	c, d := 1/tiny, 1/notZero(b)
	f := d
	for n := 1.0; n < fractionSteps; n++ {
		step := -n * (n - a)
		b += 2
		d, c = 1/notZero(step*d+b), notZero(b+step/c)
		f *= d * c
		if math.Abs(d*c-1) < fractionEnd {
			break
		}
	}
	return poissonMass(a, x) * a * f
}

func notZero(x float64) float64 {
	if math.Abs(x) < tiny {
		return tiny
	}
	return x
}

// betaQuantile is the x with I_x(a,b) = p.
func betaQuantile(p, a, b float64) float64 {
	return bisect(0, 1, func(x float64) bool { return betaRegularized(x, a, b) < p })
}

// gammaQuantile is the x with P(a,x) = p, for p below 1.
func gammaQuantile(p, a float64) float64 {
	high := a + 1
	for gammaLower(a, high) < p {
		high *= 2
	}
	return bisect(0, high, func(x float64) bool { return gammaLower(a, x) < p })
}

// bisect finds where below turns from true to false, to the last digit.
func bisect(low, high float64, below func(float64) bool) float64 {
	for {
		mid := low + (high-low)/2
		if mid <= low || mid >= high {
			return mid
		}
		if below(mid) {
			low = mid
		} else {
			high = mid
		}
	}
}
