// The protocol of functions as container images; nothing here is about your function.
// What else can be said in frames is on the page "Functions as container images" of Taskyard's reference.
using System;
using System.Collections.Generic;
using System.IO;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Threading;
using System.Threading.Tasks;

namespace Taskyard
{
    /// <summary>A call.</summary>
    public sealed class Request
    {
        private readonly Action<double, string> progress;

        internal Request(JsonElement header, byte[] body, Action<double, string> progress)
        {
            this.progress = progress;
            Body = body;
            TaskId = header.GetProperty("task").GetString();
            Method = header.GetProperty("method").GetString();
            Host = header.GetProperty("host").GetString();
            Query = header.GetProperty("query").GetString();
            var pairs = new List<KeyValuePair<string, string>>();
            foreach (var pair in header.GetProperty("headers").EnumerateArray())
                pairs.Add(new KeyValuePair<string, string>(pair[0].GetString(), pair[1].GetString()));
            Headers = pairs;
        }

        public string TaskId { get; }

        public string Method { get; }

        public string Host { get; }

        /// <summary>The query string as it was sent, without the question mark.</summary>
        public string Query { get; }

        /// <summary>Names and values, in the order in which they were sent.</summary>
        public IReadOnlyList<KeyValuePair<string, string>> Headers { get; }

        public byte[] Body { get; }

        public string Text => Encoding.UTF8.GetString(Body);

        /// <summary>The first value of a header, in any letter case; null if there is none.</summary>
        public string Header(string name)
        {
            foreach (var pair in Headers)
                if (string.Equals(pair.Key, name, StringComparison.OrdinalIgnoreCase)) return pair.Value;
            return null;
        }

        /// <summary>
        /// Report progress, from 0 to 1; a few times a second at most. From any thread: what comes
        /// after the end of the call is dropped.
        /// </summary>
        public void Progress(double done, string text = "")
        {
            if (!(done >= 0 && done <= 1)) throw new ArgumentOutOfRangeException(nameof(done));
            progress(done, text);
        }
    }

    /// <summary>The answer to a call.</summary>
    public sealed class Response
    {
        private static readonly byte[] Empty = new byte[0];
        private readonly List<string[]> headers = new List<string[]>();

        public Response(int status = 200, byte[] body = null)
        {
            Status = status;
            Body = body ?? Empty;
        }

        /// <summary>From 200 to 599.</summary>
        public int Status { get; }

        public byte[] Body { get; }

        public IReadOnlyList<string[]> Headers => headers;

        public static Response OfText(string text, int status = 200)
        {
            var response = new Response(status, Encoding.UTF8.GetBytes(text));
            return response.With("content-type", "text/plain; charset=utf-8");
        }

        public static Response OfJson(object value, int status = 200)
        {
            var response = new Response(status, JsonSerializer.SerializeToUtf8Bytes(value));
            return response.With("content-type", "application/json");
        }

        /// <summary>Add a header, also one that is there already.</summary>
        public Response With(string name, string value)
        {
            if (name == null) throw new ArgumentNullException(nameof(name));
            if (value == null) throw new ArgumentNullException(nameof(value));
            headers.Add(new[] { name, value });
            return this;
        }
    }

    /// <summary>Connects to Taskyard, and answers calls one at a time.</summary>
    public static class Runtime
    {
        private static readonly object Writing = new object();
        private static long current;

        /// <summary>Answer calls until they are not needed any more.</summary>
        public static void Serve(Func<Request, Task<Response>> handle)
        {
            var output = new Counted(Console.OpenStandardOutput());
            var errors = new Counted(Console.OpenStandardError());
            Console.SetOut(output.Writer());
            Console.SetError(errors.Writer());
            var path = Environment.GetEnvironmentVariable("TASKYARD_FUNCTION_SOCKET");
            using (var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
            {
                socket.Connect(new UnixDomainSocketEndPoint(path));
                using (var stream = new NetworkStream(socket))
                {
                    Say(stream, new Dictionary<string, object> { ["ready"] = true }, new byte[0]);
                    while (Read(stream, out var header, out var body))
                        Answer(stream, handle, header, body, output, errors);
                }
            }
        }

        private static void Answer(
            Stream stream,
            Func<Request, Task<Response>> handle,
            JsonElement header,
            byte[] content,
            Counted output,
            Counted errors)
        {
            var call = header.GetProperty("call").GetInt64();
            lock (Writing) current = call;
            var said = new Dictionary<string, object> { ["call"] = call };
            var body = new byte[0];
            try
            {
                var request = new Request(header, content, (done, text) => Progress(stream, call, done, text));
                var response = handle(request).GetAwaiter().GetResult();
                said["status"] = response.Status;
                said["headers"] = response.Headers;
                body = response.Body;
            }
            catch (Exception error)
            {
                // Whatever a handler throws fails its call, and no other.
                Console.Error.WriteLine(error);
                said["error"] = error.GetType().Name + ": " + error.Message;
            }
            lock (Writing)
            {
                current = 0;
                said["printed"] = new[] { output.Count, errors.Count };
                Say(stream, said, body);
            }
        }

        private static void Progress(Stream stream, long call, double done, string text)
        {
            lock (Writing)
            {
                if (current != call) return;
                var said = new Dictionary<string, object> { ["call"] = call, ["progress"] = done, ["text"] = text };
                Say(stream, said, new byte[0]);
            }
        }

        private static void Say(Stream stream, Dictionary<string, object> header, byte[] payload)
        {
            var head = JsonSerializer.SerializeToUtf8Bytes(header);
            var frame = new byte[8 + head.Length + payload.Length];
            Put(frame, 0, head.Length);
            Put(frame, 4, payload.Length);
            head.CopyTo(frame, 8);
            payload.CopyTo(frame, 8 + head.Length);
            stream.Write(frame, 0, frame.Length);
        }

        private static bool Read(Stream stream, out JsonElement header, out byte[] payload)
        {
            header = default(JsonElement);
            payload = null;
            var lengths = Bytes(stream, 8);
            if (lengths == null) return false;
            var head = Bytes(stream, Number(lengths, 0));
            payload = Bytes(stream, Number(lengths, 4));
            if (head == null || payload == null) return false;
            header = JsonDocument.Parse(head).RootElement;
            return true;
        }

        /// <summary>So many bytes; null when the other end has hung up.</summary>
        private static byte[] Bytes(Stream stream, int count)
        {
            var bytes = new byte[count];
            for (var have = 0; have < count;)
            {
                var got = stream.Read(bytes, have, count - have);
                if (got == 0) return null;
                have += got;
            }
            return bytes;
        }

        private static int Number(byte[] bytes, int at)
        {
            return bytes[at] << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3];
        }

        private static void Put(byte[] bytes, int at, int number)
        {
            for (var place = 0; place < 4; place++) bytes[at + place] = (byte)(number >> (24 - 8 * place));
        }
    }

    /// <summary>
    /// Standard output or error, and how much was written to it: so that the end of a call waits for
    /// exactly what it has printed. What other programs and native libraries print is not counted.
    /// </summary>
    internal sealed class Counted : Stream
    {
        private readonly Stream inner;
        private long count;

        public Counted(Stream inner)
        {
            this.inner = inner;
        }

        public long Count => Interlocked.Read(ref count);

        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public TextWriter Writer()
        {
            return new StreamWriter(this, new UTF8Encoding(false)) { AutoFlush = true };
        }

        public override void Write(byte[] buffer, int offset, int length)
        {
            inner.Write(buffer, offset, length);
            inner.Flush();
            Interlocked.Add(ref count, length);
        }

        public override void Flush()
        {
            inner.Flush();
        }

        public override int Read(byte[] buffer, int offset, int length) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();
    }
}
