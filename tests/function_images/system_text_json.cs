// The few names of System.Text.Json that the source of function images uses, for Mono, which has no
// such library: so that the rest of the source can be compiled and run where there is no .NET.
using System.Collections;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;

namespace System.Text.Json
{
    public sealed class JsonDocument
    {
        public JsonElement RootElement { get; private set; }

        public static JsonDocument Parse(byte[] text)
        {
            return new JsonDocument { RootElement = new JsonElement(Reader.Read(Encoding.UTF8.GetString(text))) };
        }
    }

    public struct JsonElement
    {
        private readonly object value;

        internal JsonElement(object value)
        {
            this.value = value;
        }

        public JsonElement this[int index] => new JsonElement(((List<object>)value)[index]);

        public JsonElement GetProperty(string name)
        {
            return new JsonElement(((Dictionary<string, object>)value)[name]);
        }

        public string GetString() => (string)value;

        public long GetInt64() => (long)(double)value;

        public IEnumerable<JsonElement> EnumerateArray()
        {
            return ((List<object>)value).Select(one => new JsonElement(one));
        }
    }

    public static class JsonSerializer
    {
        public static byte[] SerializeToUtf8Bytes<T>(T value)
        {
            return Encoding.UTF8.GetBytes(Text(value));
        }

        private static string Text(object value)
        {
            if (value is string text) return Reader.Quoted(text);
            if (value is bool truth) return truth ? "true" : "false";
            if (value is IDictionary<string, object> members)
                return "{" + string.Join(",", members.Select(one => Text(one.Key) + ":" + Text(one.Value))) + "}";
            if (value is IEnumerable items) return "[" + string.Join(",", items.Cast<object>().Select(Text)) + "]";
            return Convert.ToString(value, CultureInfo.InvariantCulture);
        }
    }

    /// <summary>Values are null, bool, double, string, List of object, Dictionary.</summary>
    internal sealed class Reader
    {
        private readonly string text;
        private int at;

        private Reader(string text)
        {
            this.text = text;
        }

        /// <summary>The value of a text. Throws <c>FormatException</c>.</summary>
        public static object Read(string text)
        {
            var reader = new Reader(text);
            var value = reader.Value();
            reader.Skip();
            if (reader.at != text.Length) throw new FormatException("more than one value");
            return value;
        }

        /// <summary>A text in quotation marks.</summary>
        public static string Quoted(string text)
        {
            var quoted = new StringBuilder("\"");
            foreach (var letter in text)
            {
                if (letter == '"' || letter == '\\') quoted.Append('\\').Append(letter);
                else if (letter < ' ' || char.IsSurrogate(letter))
                    quoted.Append("\\u").Append(((int)letter).ToString("x4"));
                else quoted.Append(letter);
            }
            return quoted.Append('"').ToString();
        }

        private char Next()
        {
            if (at >= text.Length) throw new FormatException("it ends too early");
            return text[at++];
        }

        private void Skip()
        {
            while (at < text.Length && " \t\r\n".IndexOf(text[at]) >= 0) at++;
        }

        private bool Take(string word)
        {
            if (string.CompareOrdinal(text, at, word, 0, word.Length) != 0) return false;
            at += word.Length;
            return true;
        }

        private object Value()
        {
            Skip();
            if (Take("null")) return null;
            if (Take("true")) return true;
            if (Take("false")) return false;
            if (Take("\"")) return Text();
            if (Take("[")) return Items();
            if (Take("{")) return Members();
            var start = at;
            while (at < text.Length && "+-.eE0123456789".IndexOf(text[at]) >= 0) at++;
            var digits = text.Substring(start, at - start);
            return double.Parse(digits, NumberStyles.Float, CultureInfo.InvariantCulture);
        }

        private List<object> Items()
        {
            var items = new List<object>();
            Skip();
            if (Take("]")) return items;
            do
            {
                items.Add(Value());
                Skip();
            }
            while (Take(","));
            if (!Take("]")) throw new FormatException("an array without an end");
            return items;
        }

        private Dictionary<string, object> Members()
        {
            var members = new Dictionary<string, object>();
            Skip();
            if (Take("}")) return members;
            do
            {
                Skip();
                if (!Take("\"")) throw new FormatException("a member without a name");
                var name = Text();
                Skip();
                if (!Take(":")) throw new FormatException("a member without a value");
                members[name] = Value();
                Skip();
            }
            while (Take(","));
            if (!Take("}")) throw new FormatException("an object without an end");
            return members;
        }

        private string Text()
        {
            var found = new StringBuilder();
            for (var letter = Next(); letter != '"'; letter = Next())
            {
                if (letter == '\\') letter = Escaped(Next());
                found.Append(letter);
            }
            return found.ToString();
        }

        private char Escaped(char letter)
        {
            switch (letter)
            {
                case 'b': return '\b';
                case 'f': return '\f';
                case 'n': return '\n';
                case 'r': return '\r';
                case 't': return '\t';
                case 'u':
                    var digits = new string(new[] { Next(), Next(), Next(), Next() });
                    return (char)int.Parse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
                default: return letter;
            }
        }
    }
}
