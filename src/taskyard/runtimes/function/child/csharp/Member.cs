using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Primitives;

namespace Taskyard
{
    /// <summary>A handler answered with something that is no answer.</summary>
    internal sealed class Unusable : Exception
    {
        public Unusable(string text) : base("the handler answered with something unusable: " + text)
        {
        }
    }

    /// <summary>A member for C#: speaks the protocol of the function runtime.</summary>
    internal sealed class Member
    {
        private const int CarriedBytes = 16 << 10;
        private static readonly byte[] Nothing = new byte[0];
        private readonly Func<HttpRequest, object> handle;
        private readonly Runtime runtime = new Runtime();
        private readonly string home = Directory.GetCurrentDirectory();
        private readonly string output = Environment.GetEnvironmentVariable("TASKYARD_OUTPUT");
        private readonly int limit =
            int.Parse(Environment.GetEnvironmentVariable("TASKYARD_RESULT_BYTES"));

        public Member(Func<HttpRequest, object> handle)
        {
            this.handle = handle;
            foreach (var name in new[] { "HANDLER", "ENTRY", "OUTPUT", "RESULT_BYTES" })
                Environment.SetEnvironmentVariable("TASKYARD_" + name, null);
        }

        /// <summary>Answer calls, one at a time, until the runtime hangs up.</summary>
        public void Serve()
        {
            runtime.Say("{\"ready\":true}");
            for (var call = runtime.Read(); call != null; call = runtime.Read())
            {
                if (true.Equals(Get(call.Header, "fresh")))
                {
                    Libc.Replace(1, Path.Combine(output, "stdout"));
                    Libc.Replace(2, Path.Combine(output, "stderr"));
                }
                Answer(call);
                Tidy();
            }
        }

        private void Answer(Frame call)
        {
            var content = Nothing;
            string head;
            var number = ((long)((Get(call.Header, "call") as double?) ?? 0)).ToString();
            var progress = new Progress(runtime, number);
            try
            {
                var request = RequestOf(call, progress);
                var value = Awaited(handle(request));
                head = HeadOf(value, request.HttpContext.Response, out content);
            }
            catch (Unusable error)
            {
                content = Nothing;
                head = "\"error\":" + Json.Quoted(error.Message);
            }
            catch (Exception error)
            {
                // Whatever other people's code throws is told, and never ends our part.
                Console.Error.WriteLine(error);
                head = "\"error\":" + Json.Quoted(error.GetType().Name + ": " + error.Message);
            }
            progress.End();
            var kids = Libc.HasChildren();
            byte[] said, complained;
            var spill = !Printed(out said, out complained);
            var sizes = string.Join(",", content.Length, said.Length, complained.Length);
            runtime.Say("{\"call\":" + number + "," + head + ",\"sizes\":[" + sizes + "],\"spill\":" + Word(spill)
                + ",\"kids\":" + Word(kids) + "}", content, said, complained);
        }

        private static object Awaited(object value)
        {
            var task = value as Task;
            if (task == null) return value;
            task.GetAwaiter().GetResult();
            var result = task.GetType().GetProperty("Result");
            // The result of a task without one is of a type that nobody can name.
            return result == null || !result.PropertyType.IsVisible ? null : result.GetValue(task);
        }

        private string HeadOf(object value, HttpResponse response, out byte[] content)
        {
            object status = response.StatusCode, body = value;
            var pair = value as ITuple;
            if (pair != null)
            {
                if (pair.Length != 2) throw new Unusable("a tuple has to be (status, body)");
                status = pair[0];
                body = pair[1];
            }
            if (!(status is int) || (int)status < 200 || (int)status > 599)
                throw new Unusable("the status has to be a number from 200 to 599, not " + status);
            string kind = null;
            if (body == null) content = Nothing;
            else if (body is string)
            {
                content = Encoding.UTF8.GetBytes((string)body);
                kind = "text/plain; charset=utf-8";
            }
            else if (body is byte[])
            {
                content = (byte[])body;
                kind = "application/octet-stream";
            }
            else throw new Unusable("a " + body.GetType().Name + " cannot be answered with");
            if (content.Length > limit)
                throw new Unusable("the answer has " + content.Length + " bytes; " + limit + " are allowed");
            if (kind != null && response.ContentType == null) response.ContentType = kind;
            var pairs = response.Headers.SelectMany(
                header => header.Value.Select(one => "[" + Field(header.Key) + "," + Field(one) + "]"));
            return "\"status\":" + status + ",\"headers\":[" + string.Join(",", pairs) + "]";
        }

        private static string Field(string text)
        {
            text = text ?? "";
            if (text.IndexOfAny(new[] { '\r', '\n', '\0' }) >= 0)
                throw new Unusable("a header contains a line break");
            if (text.Any(letter => letter > 0xff))
                throw new Unusable("a header contains letters that no header can carry");
            return Json.Quoted(text);
        }

        private static HttpRequest RequestOf(Frame call, Progress progress)
        {
            var query = Get(call.Header, "query") as string ?? "";
            var request = new HttpRequest
            {
                Method = Get(call.Header, "method") as string ?? "POST",
                Scheme = "http",
                Host = new HostString(Get(call.Header, "host") as string),
                Path = "/",
                QueryString = new QueryString(query == "" ? "" : "?" + query),
                Query = QueryOf(query),
                Headers = new IHeaderDictionary(),
                Body = new MemoryStream(call.Payload, false),
                ContentLength = call.Payload.Length,
            };
            foreach (List<object> pair in Get(call.Header, "headers") as List<object> ?? new List<object>())
                request.Headers.Append((string)pair[0], (string)pair[1]);
            var timeout = Get(call.Header, "timeout_s") as double?;
            var running = Stopwatch.StartNew();
            request.HttpContext = new HttpContext
            {
                Request = request,
                Response = new HttpResponse(),
                Abort = () => AfterTime(timeout, running.Elapsed),
                Items = new Dictionary<object, object>
                {
                    { "taskyard.progress", new Action<double, string>(progress.Report) },
                },
            };
            return request;
        }

        private static CancellationToken AfterTime(double? timeout, TimeSpan passed)
        {
            var source = new CancellationTokenSource();
            if (timeout.HasValue && timeout.Value < int.MaxValue / 1000)
            {
                var left = TimeSpan.FromSeconds(timeout.Value) - passed;
                source.CancelAfter(left > TimeSpan.Zero ? left : TimeSpan.Zero);
            }
            return source.Token;
        }

        private static NamedValues QueryOf(string query)
        {
            var values = new NamedValues();
            foreach (var part in query.Split(new[] { '&' }, StringSplitOptions.RemoveEmptyEntries))
            {
                var at = part.IndexOf('=');
                var name = at < 0 ? part : part.Substring(0, at);
                values.Append(Decoded(name), Decoded(at < 0 ? "" : part.Substring(at + 1)));
            }
            return values;
        }

        private static string Decoded(string text)
        {
            return Uri.UnescapeDataString(text.Replace('+', ' '));
        }

        private static object Get(Dictionary<string, object> members, string name)
        {
            object value;
            return members.TryGetValue(name, out value) ? value : null;
        }

        /// <summary>
        /// What was printed, if it is little: then the files are emptied. False if there is more, or
        /// somebody else has the files too: then it is in the files.
        /// </summary>
        private static bool Printed(out byte[] said, out byte[] complained)
        {
            said = complained = Nothing;
            Console.Out.Flush();
            Console.Error.Flush();
            uint first, second;
            long much, more;
            Libc.Stat(1, out first, out much);
            Libc.Stat(2, out second, out more);
            if (much + more > CarriedBytes || first != 1 || second != 1) return false;
            said = Libc.Take(1, much);
            complained = Libc.Take(2, more);
            return true;
        }

        /// <summary>An empty working directory for the next call.</summary>
        private void Tidy()
        {
            Directory.SetCurrentDirectory(home);
            foreach (var path in Directory.GetFileSystemEntries("."))
            {
                try
                {
                    var isLink = (File.GetAttributes(path) & FileAttributes.ReparsePoint) != 0;
                    if (Directory.Exists(path) && !isLink) Directory.Delete(path, true);
                    else File.Delete(path);
                }
                catch (IOException)
                {
                    continue; // what cannot be removed is of no use to anybody
                }
                catch (UnauthorizedAccessException)
                {
                    continue;
                }
            }
        }

        private static string Word(bool truth)
        {
            return truth ? "true" : "false";
        }
    }

    internal static class Program
    {
        private static void Main()
        {
            new Member(request => new Function.FunctionHandler().Handle(request)).Serve();
        }
    }
}
