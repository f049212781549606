// An instance for Go: speaks the protocol of the function runtime over descriptor 3.
package main

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	handler "github.com/openfaas/templates-sdk/go-http"
)

type answering func(handler.Request) (handler.Response, error)

// unusable is an answer that is none.
type unusable string

func (text unusable) Error() string {
	return "the handler answered with something unusable: " + string(text)
}

// serve answers calls until the runtime hangs up.
//
// Goroutines of the module are the function's own; with "timed" there may be timers of it that
// nobody can see.
func serve(handle answering, module string, timed bool) {
	limit := os.Getenv("TASKYARD_RESULT_BYTES")
	for _, name := range []string{"HANDLER", "ENTRY", "RESULT_BYTES"} {
		os.Unsetenv("TASKYARD_" + name)
	}
	home, err := os.Getwd()
	if err != nil {
		fatal(err)
	}
	most, err := strconv.Atoi(limit)
	if err != nil {
		fatal(err)
	}
	other, err := connect()
	if err != nil {
		fatal(err)
	}
	left := newLeftovers(module, timed)
	if other.say(object{"ready": true}) != nil {
		return
	}
	for {
		given, body, err := other.read()
		if err != nil {
			return
		}
		if other.answer(handle, given, body, most, left) != nil || tidy(home) != nil {
			return
		}
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func (other *runtime) answer(handle answering, given *call, body []byte, most int, left *leftovers) error {
	progress := &progress{other: other, call: given.Number}
	ctx := context.WithValue(context.Background(), "taskyard.progress", progress.report)
	cancel := context.CancelFunc(func() {})
	if given.Timeout != nil {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*given.Timeout*float64(time.Second)))
	}
	response, err := called(handle, requestOf(given, body, ctx))
	cancel()
	progress.end()
	header := object{}
	if err == nil {
		header, err = headerOf(response, most)
	}
	if err != nil {
		header, response.Body = object{"error": err.Error()}, nil
	}
	header["call"] = given.Number
	header["kids"] = left.remain() || left.streamsLost() || hasChildren()
	header["sizes"] = []int{len(response.Body), 0, 0}
	return other.say(header, response.Body)
}

// called is what the handler answers; a panic is an error whose trace is in the log.
func called(handle answering, request handler.Request) (response handler.Response, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			fmt.Fprintf(os.Stderr, "panic: %v\n\n%s", reason, debug.Stack())
			err = fmt.Errorf("panic: %v", reason)
		}
	}()
	response, err = handle(request)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return response, err
}

func requestOf(given *call, body []byte, ctx context.Context) handler.Request {
	header := http.Header{}
	for _, pair := range given.Headers {
		header.Add(bytesOf(pair[0]), bytesOf(pair[1]))
	}
	request := handler.Request{
		Body:        body,
		Header:      header,
		QueryString: bytesOf(given.Query),
		Method:      given.Method,
		Host:        given.Host,
	}
	request.WithContext(ctx)
	return request
}

func headerOf(response handler.Response, most int) (object, error) {
	status := response.StatusCode
	if status == 0 {
		status = http.StatusOK
	}
	if status < 200 || status > 599 {
		return nil, unusable(fmt.Sprintf("the status has to be a number from 200 to 599, not %d", status))
	}
	if len(response.Body) > most {
		return nil, unusable(fmt.Sprintf("the answer has %d bytes; %d are allowed", len(response.Body), most))
	}
	pairs := [][2]string{}
	for name, values := range response.Header {
		for _, value := range values {
			if strings.ContainsAny(name+value, "\r\n\x00") {
				return nil, unusable("a header contains a line break")
			}
			pairs = append(pairs, [2]string{lettersOf(name), lettersOf(value)})
		}
	}
	if len(response.Body) > 0 && response.Header.Get("Content-Type") == "" {
		// What Go's own server does for a handler that says nothing about it.
		pairs = append(pairs, [2]string{"Content-Type", http.DetectContentType(response.Body)})
	}
	return object{"status": status, "headers": pairs}, nil
}

// bytesOf gives header text its bytes: it travels as letters of Latin-1, one for each byte.
func bytesOf(text string) string {
	raw := make([]byte, 0, len(text))
	for _, letter := range text {
		if letter > math.MaxUint8 {
			return text
		}
		raw = append(raw, byte(letter))
	}
	return string(raw)
}

// lettersOf is the way back.
func lettersOf(raw string) string {
	letters := make([]rune, len(raw))
	for index := range letters {
		letters[index] = rune(raw[index])
	}
	return string(letters)
}
