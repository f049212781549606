using System;
using System.Collections;
using System.Collections.Generic;
using System.Linq;

namespace Microsoft.Extensions.Primitives
{
    /// <summary>No, one or several values of a header or a parameter.</summary>
    public struct StringValues : IEnumerable<string>
    {
        public static readonly StringValues Empty = new StringValues(new string[0]);

        private readonly string[] values;

        public StringValues(params string[] values)
        {
            this.values = values;
        }

        public int Count
        {
            get { return values == null ? 0 : values.Length; }
        }

        public string this[int index]
        {
            get { return ToArray()[index]; }
        }

        public static implicit operator StringValues(string value)
        {
            return value == null ? Empty : new StringValues(value);
        }

        public static implicit operator StringValues(string[] values)
        {
            return new StringValues(values);
        }

        public static implicit operator string(StringValues values)
        {
            return values.Count == 0 ? null : values.ToString();
        }

        public static StringValues Concat(StringValues some, StringValues more)
        {
            return new StringValues(some.Concat<string>(more).ToArray());
        }

        public string[] ToArray()
        {
            return values ?? new string[0];
        }

        public override string ToString()
        {
            return string.Join(",", ToArray());
        }

        public IEnumerator<string> GetEnumerator()
        {
            return ((IEnumerable<string>)ToArray()).GetEnumerator();
        }

        IEnumerator IEnumerable.GetEnumerator()
        {
            return GetEnumerator();
        }
    }
}
