"""Functions of each language that are as good as a shell."""

from typing import Final

GO: Final = """
package function

import (
	"os/exec"

	handler "github.com/openfaas/templates-sdk/go-http"
)

func Handle(req handler.Request) (handler.Response, error) {
	said, _ := exec.Command("/bin/sh", "-c", string(req.Body)).CombinedOutput()
	return handler.Response{Body: said}, nil
}
"""
SHELLS: Final = {
    "python": "import subprocess\ndef handle(request):\n"
    "    return subprocess.run(['/bin/sh', '-c', request.text], capture_output=False,\n"
    "        stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout\n",
    "javascript": "module.exports = (request) => {\n"
    "  const done = require('node:child_process').spawnSync('/bin/sh', ['-c', request.text]);\n"
    "  return done.stdout.toString() + done.stderr.toString();\n};\n",
    "ruby": "require 'open3'\nclass Handler\n  def run(body, headers)\n"
    "    text, _ = Open3.capture2e('/bin/sh', '-c', body)\n    return text\n  end\nend\n",
    "go": GO,
}
"""Handlers that run what they are sent."""
