package main

import (
	"bytes"
	goruntime "runtime"
	"strings"
	"syscall"
	"time"
)

const (
	grace         = 20 * time.Millisecond
	betweenLooks  = 500 * time.Microsecond
	largestStacks = 1 << 20
)

// leftovers tells whether a call left goroutines of the function's own running. They may print, or end
// the program, in a later call, and nobody could tell: then the process is not used again. Goroutines
// of libraries serve later calls as well, such as those of connections that are kept.
type leftovers struct {
	// How names of the module's functions begin; dots in a package's last part are escaped there.
	names []string
	timed bool
	known map[string]bool
	ends  [2]end
}

// end is what standard output or error is open on; nothing for one that cannot be printed to.
type end struct{ device, inode uint64 }

func ends() (found [2]end) {
	for index := range found {
		var facts syscall.Stat_t
		if syscall.Fstat(index+1, &facts) == nil {
			found[index] = end{uint64(facts.Dev), facts.Ino}
		}
	}
	return found
}

// streamsLost tells whether a call closed them, or had them lead elsewhere: later calls would print nothing.
func (of *leftovers) streamsLost() bool {
	return ends() != of.ends
}

func newLeftovers(module string, timed bool) *leftovers {
	at := strings.LastIndexByte(module, '/') + 1
	last := strings.ReplaceAll(module[at:], ".", "%2e")
	names := []string{module[:at] + last + ".", module + "/"}
	of := &leftovers{names: names, timed: timed, known: map[string]bool{}, ends: ends()}
	for _, stack := range others() {
		of.known[number(stack)] = true
	}
	return of
}

// remain waits a moment for goroutines that are about to end: many have given their result just now.
func (of *leftovers) remain() bool {
	if of.timed {
		return true
	}
	giveUpAt := time.Time{}
	for of.are() {
		now := time.Now()
		if giveUpAt.IsZero() {
			giveUpAt = now.Add(grace)
		}
		if now.After(giveUpAt) {
			return true
		}
		time.Sleep(betweenLooks)
	}
	return false
}

func (of *leftovers) are() bool {
	if goruntime.NumGoroutine() == 1 {
		return false
	}
	for _, stack := range others() {
		if !of.known[number(stack)] && of.isOwn(stack) {
			return true
		}
	}
	return false
}

// isOwn tells whether a goroutine runs the function's code, or was begun by it.
func (of *leftovers) isOwn(stack string) bool {
	for _, line := range strings.Split(stack, "\n") {
		name := strings.TrimPrefix(line, "created by ")
		if name == "...additional frames elided..." {
			return true
		}
		for _, own := range of.names {
			if strings.HasPrefix(name, own) {
				return true
			}
		}
	}
	return false
}

// others are the stacks of all goroutines but this one.
func others() []string {
	buffer := make([]byte, 16<<10)
	for {
		size := goruntime.Stack(buffer, true)
		if size < len(buffer) || len(buffer) >= largestStacks {
			stacks := bytes.Split(buffer[:size], []byte("\n\n"))
			found := make([]string, 0, len(stacks))
			for _, stack := range stacks[1:] {
				found = append(found, string(stack))
			}
			return found
		}
		buffer = make([]byte, 2*len(buffer))
	}
}

// number is that of a goroutine: its stack begins with "goroutine 18 [running]:".
func number(stack string) string {
	fields := strings.Fields(stack)
	if len(fields) < 2 {
		return ""
	}
	return fields[1]
}
