// Package handler has the types of a function's request and response, in the shape that functions
// for OpenFaaS's golang-http template are written against. It stands in for the module of this name
// while a function is built, so that no network is needed for it.
package handler

import (
	"context"
	"net/http"
)

// Request is one call.
type Request struct {
	Body        []byte
	Header      http.Header
	QueryString string
	Method      string
	Host        string

	context context.Context
}

// Response is what becomes of it. A StatusCode of 0 means 200.
type Response struct {
	Body       []byte
	StatusCode int
	Header     http.Header
}

// FunctionHandler answers calls.
type FunctionHandler interface {
	Handle(request Request) (Response, error)
}

// Context ends when the call has to; it is never nil.
func (request *Request) Context() context.Context {
	if request.context == nil {
		return context.Background()
	}
	return request.context
}

// WithContext replaces the context, which must not be nil.
func (request *Request) WithContext(replacement context.Context) {
	if replacement == nil {
		panic("a request needs a context")
	}
	request.context = replacement
}
