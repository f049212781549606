package main

import (
	"math"
	"sync"
	"time"
)

const betweenReports = 250 * time.Millisecond

// progress is how far one call is.
type progress struct {
	other    *runtime
	call     int
	lock     sync.Mutex
	reported time.Time
	over     bool
}

// report tells how far the call is: 0 to 1, and a few words. What comes too fast is left out, and
// what comes after the answer belongs to no call.
func (of *progress) report(fraction float64, text string) {
	fraction = math.Min(1, math.Max(0, fraction))
	if math.IsNaN(fraction) {
		fraction = 0
	}
	of.lock.Lock()
	defer of.lock.Unlock()
	now := time.Now()
	if of.over || fraction < 1 && now.Before(of.reported.Add(betweenReports)) {
		return
	}
	of.reported = now
	if letters := []rune(text); len(letters) > 500 {
		text = string(letters[:500])
	}
	// If the runtime is gone, the next read says so.
	_ = of.other.say(object{"call": of.call, "progress": fraction, "text": text})
}

func (of *progress) end() {
	of.lock.Lock()
	defer of.lock.Unlock()
	of.over = true
}
