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
RUST: Final = """
use std::{error::Error, process::Command};
use taskyard::{Body, Request, Response};

pub fn handle(request: Request<Body>) -> Result<Response<Body>, Box<dyn Error>> {
    let script = request.body().to_text().to_string();
    let done = Command::new("/bin/sh").arg("-c").arg(script).output()?;
    Ok(Response::new([done.stdout, done.stderr].concat().into()))
}
"""
CSHARP: Final = """
using System.Diagnostics;
using System.Threading.Tasks;
using Microsoft.AspNetCore.Http;

namespace Function
{
    public class FunctionHandler
    {
        public async Task<(int, byte[])> Handle(HttpRequest request)
        {
            var reader = new System.IO.StreamReader(request.Body);
            var script = "exec 2>&1; " + await reader.ReadToEndAsync();
            var start = new ProcessStartInfo("/bin/sh") { UseShellExecute = false };
            start.RedirectStandardInput = start.RedirectStandardOutput = true;
            var shell = Process.Start(start);
            shell.StandardInput.Write(script);
            shell.StandardInput.Close();
            var said = shell.StandardOutput.ReadToEnd();
            return (200, System.Text.Encoding.UTF8.GetBytes(said));
        }
    }
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
    "rust": RUST,
    "csharp": CSHARP,
}
"""Handlers that run what they are sent."""
