using System;
using System.Diagnostics;
using System.Globalization;

namespace Taskyard
{
    /// <summary>
    /// How far one call is. What comes too fast is left out, and what comes after the answer belongs
    /// to no call.
    /// </summary>
    internal sealed class Progress
    {
        private const int BetweenReportsMs = 250;
        private readonly Runtime runtime;
        private readonly string call;
        private readonly object state = new object();
        private Stopwatch reported;
        private bool over;

        public Progress(Runtime runtime, string call)
        {
            this.runtime = runtime;
            this.call = call;
        }

        public void Report(double fraction, string text)
        {
            var part = double.IsNaN(fraction) ? 0 : Math.Min(1, Math.Max(0, fraction));
            lock (state)
            {
                var early = reported != null && reported.ElapsedMilliseconds < BetweenReportsMs;
                if (over || (early && part < 1)) return;
                reported = Stopwatch.StartNew();
                var shown = text != null && text.Length > 500 ? text.Substring(0, 500) : text;
                runtime.Say("{\"call\":" + call + ",\"progress\":" + part.ToString("R", CultureInfo.InvariantCulture)
                    + ",\"text\":" + (shown == null ? "null" : Json.Quoted(shown)) + "}");
            }
        }

        public void End()
        {
            lock (state) over = true;
        }
    }
}
