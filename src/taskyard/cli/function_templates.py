"""New functions to start from, one for each language: they greet whoever the body names."""

from typing import Final

_PYTHON: Final = '''"""{name}: a function for Taskyard."""


def handle(request):
    """Answer a call: text, bytes, JSON, or (status, headers, body)."""
    who = request.query.get("name") or request.text or "world"
    print(f"greeting {{who}}")
    return {{"message": f"Hello, {{who}}!"}}
'''
_JAVASCRIPT: Final = """// {name}: a function for Taskyard.

// Answer a call: text, a Buffer, JSON, or {{ statusCode, headers, body }}.
module.exports = async (request) => {{
  const who = request.query.name || request.text || 'world';
  console.log(`greeting ${{who}}`);
  return {{ message: `Hello, ${{who}}!` }};
}};
"""
_GO: Final = """// {name}: a function for Taskyard.
package function

import (
	"fmt"

	handler "github.com/openfaas/templates-sdk/go-http"
)

// Handle answers a call.
func Handle(req handler.Request) (handler.Response, error) {{
	who := string(req.Body)
	if who == "" {{
		who = "world"
	}}
	fmt.Println("greeting", who)
	return handler.Response{{Body: []byte("Hello, " + who + "!")}}, nil
}}
"""
_GO_MODULE: Final = """module handler/function

go 1.16

require github.com/openfaas/templates-sdk/go-http v0.0.0-20220408082716-5981c545cb03
"""
_RUBY: Final = """# {name}: a function for Taskyard.
class Handler
  # Answer a call: text, a hash for JSON, or [body, headers, status].
  def run(body, headers)
    who = body.read
    who = 'world' if who.empty?
    puts "greeting #{{who}}"
    {{ message: "Hello, #{{who}}!" }}
  end
end
"""
_RUST: Final = """//! {name}: a function for Taskyard.

use taskyard::{{Body, Request, Response}};

/// Answers a call.
pub fn handle(request: Request<Body>) -> Response<Body> {{
    let mut who = request.body().to_text();
    if who.is_empty() {{
        who = "world".to_string();
    }}
    println!("greeting {{who}}");
    Response::new(format!("Hello, {{who}}!").into())
}}
"""
_RUST_CRATE: Final = """[package]
name = "handler"
version = "0.1.0"
edition = "2021"

[dependencies]
taskyard = "1"  # comes with the build
"""
_CSHARP: Final = """// {name}: a function for Taskyard.
using Microsoft.AspNetCore.Http;
using System;
using System.IO;
using System.Threading.Tasks;

namespace Function
{{
    public class FunctionHandler
    {{
        // Answer a call with a status, and text or bytes.
        public async Task<(int, string)> Handle(HttpRequest request)
        {{
            var who = await new StreamReader(request.Body).ReadToEndAsync();
            if (who == "") who = "world";
            Console.WriteLine($"greeting {{who}}");
            return (200, $"Hello, {{who}}!");
        }}
    }}
}}
"""
TEMPLATES: Final[dict[str, dict[str, str]]] = {
    "python": {"handler.py": _PYTHON, "requirements.txt": "# One requirement a line.\n"},
    "javascript": {"handler.js": _JAVASCRIPT},
    "go": {"handler.go": _GO, "go.mod": _GO_MODULE},
    "ruby": {"handler.rb": _RUBY},
    "rust": {"src/lib.rs": _RUST, "Cargo.toml": _RUST_CRATE},
    "csharp": {"FunctionHandler.cs": _CSHARP},
}
"""Files of a new function, by language; ``{name}`` is the function's."""

SUFFIXES: Final = {
    ".py": "python",
    ".js": "javascript",
    ".mjs": "javascript",
    ".go": "go",
    ".rb": "ruby",
    ".rs": "rust",
    ".cs": "csharp",
}
"""Language of a file, by the end of its name; of several, what comes first counts."""
