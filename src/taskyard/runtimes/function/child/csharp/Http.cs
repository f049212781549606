using System;
using System.Collections;
using System.Collections.Generic;
using System.IO;
using System.Threading;
using Microsoft.Extensions.Primitives;

// The part of ASP.NET's names that functions for OpenFaaS's csharp-httprequest template use.
namespace Microsoft.AspNetCore.Http
{
    /// <summary>Values by name, in any letter case; a name that is not there has none.</summary>
    public class NamedValues : IEnumerable<KeyValuePair<string, StringValues>>
    {
        private readonly Dictionary<string, StringValues> values =
            new Dictionary<string, StringValues>(StringComparer.OrdinalIgnoreCase);

        public int Count
        {
            get { return values.Count; }
        }

        public ICollection<string> Keys
        {
            get { return values.Keys; }
        }

        public StringValues this[string name]
        {
            get
            {
                StringValues found;
                return values.TryGetValue(name, out found) ? found : StringValues.Empty;
            }
            set { values[name] = value; }
        }

        public bool ContainsKey(string name)
        {
            return values.ContainsKey(name);
        }

        public bool TryGetValue(string name, out StringValues found)
        {
            return values.TryGetValue(name, out found);
        }

        public void Add(string name, StringValues value)
        {
            values.Add(name, value);
        }

        public void Append(string name, StringValues value)
        {
            values[name] = StringValues.Concat(this[name], value);
        }

        public bool Remove(string name)
        {
            return values.Remove(name);
        }

        public IEnumerator<KeyValuePair<string, StringValues>> GetEnumerator()
        {
            return values.GetEnumerator();
        }

        IEnumerator IEnumerable.GetEnumerator()
        {
            return GetEnumerator();
        }
    }

    public sealed class IHeaderDictionary : NamedValues
    {
    }

    /// <summary>The raw query string; <c>Value</c> has its question mark.</summary>
    public struct QueryString
    {
        public QueryString(string value)
        {
            Value = value;
        }

        public string Value { get; private set; }

        public bool HasValue
        {
            get { return !string.IsNullOrEmpty(Value); }
        }

        public override string ToString()
        {
            return Value ?? "";
        }
    }

    public struct HostString
    {
        public HostString(string value)
        {
            Value = value;
        }

        public string Value { get; private set; }

        public override string ToString()
        {
            return Value ?? "";
        }
    }

    public sealed class HttpRequest
    {
        public string Method { get; set; }
        public string Scheme { get; set; }
        public HostString Host { get; set; }
        public string Path { get; set; }
        public QueryString QueryString { get; set; }
        public NamedValues Query { get; set; }
        public IHeaderDictionary Headers { get; set; }
        public Stream Body { get; set; }
        public long? ContentLength { get; set; }
        public HttpContext HttpContext { get; set; }

        public string ContentType
        {
            get { return Headers["Content-Type"]; }
        }
    }

    /// <summary>What becomes of a call beside its status and text.</summary>
    public sealed class HttpResponse
    {
        public HttpResponse()
        {
            StatusCode = 200;
            Headers = new IHeaderDictionary();
        }

        /// <summary>Counts if the handler answers with a body alone.</summary>
        public int StatusCode { get; set; }

        public IHeaderDictionary Headers { get; private set; }

        public string ContentType
        {
            get { return Headers["Content-Type"]; }
            set { Headers["Content-Type"] = value; }
        }
    }

    public sealed class HttpContext
    {
        public HttpRequest Request { get; set; }
        public HttpResponse Response { get; set; }
        private CancellationToken? aborted;

        /// <summary>
        /// Cancelled when the call has run over its time. Made when somebody asks: its timer starts a
        /// thread, and a process that calls Environment.Exit at that moment may hang in Mono.
        /// </summary>
        public CancellationToken RequestAborted
        {
            get
            {
                if (!aborted.HasValue) aborted = Abort == null ? CancellationToken.None : Abort();
                return aborted.Value;
            }
            set { aborted = value; }
        }

        internal Func<CancellationToken> Abort;

        /// <summary>
        /// "taskyard.progress" is an <c>Action&lt;double, string&gt;</c> that tells how far the call
        /// is, from 0 to 1, with a few words.
        /// </summary>
        public IDictionary<object, object> Items { get; set; }
    }
}
