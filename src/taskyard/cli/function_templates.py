"""New functions to start from, one for each language: they greet whoever the body names.

Those in languages without a tool chain are the source of a container image; their files are in
``image_sources``, as they are written.
"""

from pathlib import Path
from typing import Final

_IMAGE_SOURCES: Final = Path(__file__).parent / "image_sources"

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
TEMPLATES: Final[dict[str, dict[str, str]]] = {
    "python": {"handler.py": _PYTHON, "requirements.txt": "# One requirement a line.\n"},
    "javascript": {"handler.js": _JAVASCRIPT},
    "go": {"handler.go": _GO, "go.mod": _GO_MODULE},
    "ruby": {"handler.rb": _RUBY},
}
"""Files of a new function, by language; ``{name}`` is the function's."""
IMAGE_LANGUAGES: Final = ("csharp", "rust")
"""What functions can be written in that are container images."""


def image_source(language: str) -> dict[str, str]:
    """Files of a new function that is an image, for one of :data:`IMAGE_LANGUAGES`."""
    directory = _IMAGE_SOURCES / language
    files = sorted(one for one in directory.rglob("*") if one.is_file())
    return {str(one.relative_to(directory)): one.read_text(encoding="utf-8") for one in files}


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
