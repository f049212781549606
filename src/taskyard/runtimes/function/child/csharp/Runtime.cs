using System;
using System.Collections.Generic;
using System.Linq;
using System.Net;
using System.Text;

namespace Taskyard
{
    /// <summary>A call as it arrives.</summary>
    internal sealed class Frame
    {
        public Dictionary<string, object> Header;
        public byte[] Payload;
    }

    /// <summary>The other end of descriptor 3.</summary>
    internal sealed class Runtime
    {
        private const int Descriptor = 3;
        private readonly object writing = new object();

        public Runtime()
        {
            Libc.KeepFromChildren(Descriptor);
        }

        /// <summary>The next frame; null when the runtime has hung up.</summary>
        public Frame Read()
        {
            var lengths = Libc.Read(Descriptor, 8);
            if (lengths == null) return null;
            var header = Libc.Read(Descriptor, Number(lengths, 0));
            var payload = Libc.Read(Descriptor, Number(lengths, 4));
            if (header == null || payload == null) return null;
            var read = (Dictionary<string, object>)Json.Read(Encoding.UTF8.GetString(header));
            return new Frame { Header = read, Payload = payload };
        }

        /// <summary>Send one frame; the parts of the payload follow one another.</summary>
        public void Say(string header, params byte[][] payload)
        {
            var head = Encoding.UTF8.GetBytes(header);
            var sizes = Bytes(head.Length).Concat(Bytes(payload.Sum(part => part.Length)));
            var start = sizes.Concat(head).ToArray();
            var frame = new byte[start.Length + payload.Sum(part => part.Length)];
            start.CopyTo(frame, 0);
            var at = start.Length;
            foreach (var part in payload)
            {
                part.CopyTo(frame, at);
                at += part.Length;
            }
            lock (writing) Libc.Write(Descriptor, frame);
        }

        private static int Number(byte[] bytes, int at)
        {
            return IPAddress.NetworkToHostOrder(BitConverter.ToInt32(bytes, at));
        }

        private static byte[] Bytes(int number)
        {
            return BitConverter.GetBytes(IPAddress.HostToNetworkOrder(number));
        }
    }
}
