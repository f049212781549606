"""One handler, written in each language: it does what the body of the request says."""

from typing import Final

from taskyard.core.functions.functions import Language

GO: Final = """
package function

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"

	handler "github.com/openfaas/templates-sdk/go-http"
)

func Handle(req handler.Request) (handler.Response, error) {
	switch string(req.Body) {
	case "error":
		return handler.Response{}, errors.New("went wrong")
	case "exit":
		os.Exit(3)
	case "loop":
		for {
		}
	case "print":
		fmt.Println("out")
		fmt.Fprintln(os.Stderr, "err")
	case "much":
		fmt.Print(strings.Repeat("x", 100000))
	case "child":
		child := exec.Command("sleep", "1000")
		if err := child.Start(); err != nil {
			return handler.Response{}, err
		}
		return handler.Response{Body: []byte(fmt.Sprint(child.Process.Pid))}, nil
	case "litter":
		return handler.Response{}, os.WriteFile("litter", []byte("x"), 0o600)
	case "list":
		found, err := os.ReadDir(".")
		return handler.Response{Body: []byte(fmt.Sprint(len(found)))}, err
	case "environment":
		return handler.Response{Body: []byte(strings.Join(os.Environ(), "\\n"))}, nil
	case "bad status":
		return handler.Response{StatusCode: 99}, nil
	case "bad header":
		return handler.Response{Header: http.Header{"X-A": {"b\\r\\nc: d"}}}, nil
	case "large":
		return handler.Response{Body: make([]byte, 11<<20)}, nil
	}
	if report, ok := req.Context().Value("taskyard.progress").(func(float64, string)); ok {
		report(0.5, "half")
	}
	line := strings.Join([]string{req.Method, req.Host, req.QueryString, ""}, " ")
	return handler.Response{
		StatusCode: 201,
		Header:     http.Header{"X-A": {"1", "2"}, "X-B": req.Header["X-B"]},
		Body:       append([]byte(line), req.Body...),
	}, nil
}
"""

RUBY: Final = """
class Handler
  def run(body, headers)
    case body.read
    when 'error' then raise 'went wrong'
    when 'exit' then exit! 3
    when 'loop' then loop {}
    when 'print'
      puts 'out'
      warn 'err'
    when 'much' then print 'x' * 100_000
    when 'child' then return spawn('sleep', '1000').to_s
    when 'litter' then return File.write('litter', 'x')
    when 'list' then return Dir.children('.').length.to_s
    when 'environment' then return ENV.map { |pair| pair.join('=') }.join("\\n")
    when 'bad status' then return ['', {}, 99]
    when 'bad header' then return ['', { 'x-a' => "b\\r\\nc: d" }]
    when 'large' then return 'x' * (11 << 20)
    end
    headers['taskyard.progress'].call(0.5, 'half')
    line = [headers['REQUEST_METHOD'], headers['HTTP_HOST'], headers['QUERY_STRING'], ''].join(' ')
    response_headers = { 'x-a': %w[1 2], 'x-b': headers['HTTP_X_B'] }
    return line.b + body.string.b, response_headers, 201
  end
end
"""

SAMPLES: Final = {
    Language.GO: GO,
    Language.RUBY: RUBY,
}
