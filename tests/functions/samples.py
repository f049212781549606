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

RUST: Final = """
use std::{env, error::Error, fs, process};
use taskyard::{Body, Request, Response};

pub fn handle(request: Request<Body>) -> Result<Response<Body>, Box<dyn Error>> {
    match request.body().to_text().as_str() {
        "error" => return Err("went wrong".into()),
        "exit" => process::exit(3),
        "loop" => loop {
            std::hint::spin_loop()
        },
        "print" => {
            println!("out");
            eprintln!("err");
        }
        "much" => print!("{}", "x".repeat(100_000)),
        "child" => {
            let child = process::Command::new("sleep").arg("1000").spawn()?;
            return Ok(Response::new(child.id().to_string().into()));
        }
        "litter" => fs::write("litter", "x")?,
        "list" => return Ok(Response::new(fs::read_dir(".")?.count().to_string().into())),
        "environment" => {
            let pairs: Vec<_> = env::vars().map(|(name, value)| name + "=" + &value).collect();
            return Ok(Response::new(pairs.join("\\n").into()));
        }
        "bad status" => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = 99.into();
            return Ok(response);
        }
        "bad header" => {
            return Ok(Response::builder().header("x-a", "b\\r\\nc: d").body(Body::empty())?)
        }
        "large" => return Ok(Response::new(vec![0; 11 << 20].into())),
        _ => {}
    }
    request.progress(0.5, "half");
    let line = format!("{} {} {} ", request.method(), request.host(), request.query());
    let mut body = line.into_bytes();
    let x_b = request.headers().get("X-B").unwrap_or_default().to_string();
    body.extend_from_slice(&request.into_body());
    let response = Response::builder().status(201).header("x-a", 1).header("x-a", "2");
    Ok(response.header("x-b", x_b).body(body.into())?)
}
"""

CSHARP: Final = """
using Microsoft.AspNetCore.Http;
using System;
using System.Collections;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Text;
using System.Threading.Tasks;

namespace Function
{
    public class FunctionHandler
    {
        public async Task<(int, byte[])> Handle(HttpRequest request)
        {
            var copy = new MemoryStream();
            await request.Body.CopyToAsync(copy);
            var headers = request.HttpContext.Response.Headers;
            switch (Encoding.UTF8.GetString(copy.ToArray()))
            {
                case "error": throw new InvalidOperationException("went wrong");
                case "exit": Environment.Exit(3); break;
                case "loop": for (;;) { }
                case "print": Console.WriteLine("out"); Console.Error.WriteLine("err"); break;
                case "much": Console.Write(new string('x', 100000)); break;
                case "child": return Text(Process.Start("sleep", "1000").Id.ToString());
                case "litter": File.WriteAllText("litter", "x"); break;
                case "list": return Text(Directory.GetFileSystemEntries(".").Length.ToString());
                case "environment":
                    var all = Environment.GetEnvironmentVariables().Cast<DictionaryEntry>();
                    return Text(string.Join("\\n", all.Select(one => one.Key + "=" + one.Value)));
                case "bad status": return (99, null);
                case "bad header": headers["x-a"] = "b\\r\\nc: d"; return (200, null);
                case "large": return (200, new byte[11 << 20]);
            }
            ((Action<double, string>)request.HttpContext.Items["taskyard.progress"])(0.5, "half");
            headers["x-a"] = new[] { "1", "2" };
            headers["x-b"] = request.Headers["X-B"];
            var query = request.QueryString.Value.TrimStart('?');
            var line = Text($"{request.Method} {request.Host} {query} ").Item2;
            return (201, line.Concat(copy.ToArray()).ToArray());
        }

        private static (int, byte[]) Text(string text)
        {
            return (200, Encoding.UTF8.GetBytes(text));
        }
    }
}
"""

SAMPLES: Final = {
    Language.GO: GO,
    Language.RUBY: RUBY,
    Language.RUST: RUST,
    Language.CSHARP: CSHARP,
}
