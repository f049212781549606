using System;
using System.IO;
using System.Runtime.InteropServices;

namespace Taskyard
{
    /// <summary>What the class library does not offer of descriptors.</summary>
    internal static class Libc
    {
        private const int Interrupted = 4;
        private const int EmptyPath = 0x1000;
        private const uint LinksAndSize = 0x204;
        private const int WithoutWaiting = 1;
        private const int SetDescriptorFlags = 2;
        private const int CloseOnExec = 1;
        private const int ReadWriteCreateAppend = 2 | 0x40 | 0x400;

        [DllImport("libc", SetLastError = true)]
        private static extern IntPtr read(int descriptor, ref byte first, IntPtr count);

        [DllImport("libc", SetLastError = true)]
        private static extern IntPtr write(int descriptor, ref byte first, IntPtr count);

        [DllImport("libc", SetLastError = true)]
        private static extern IntPtr pread(int descriptor, byte[] buffer, IntPtr count, long offset);

        [DllImport("libc", SetLastError = true)]
        private static extern int ftruncate(int descriptor, long size);

        [DllImport("libc", SetLastError = true)]
        private static extern int open(string path, int flags, int mode);

        [DllImport("libc", SetLastError = true)]
        private static extern int close(int descriptor);

        [DllImport("libc", SetLastError = true)]
        private static extern int dup2(int old, int replacement);

        [DllImport("libc", SetLastError = true)]
        private static extern int fcntl(int descriptor, int command, int argument);

        [DllImport("libc", SetLastError = true)]
        private static extern int waitpid(int pid, IntPtr status, int options);

        [DllImport("libc", SetLastError = true)]
        private static extern int statx(int directory, string path, int flags, uint mask, byte[] buffer);

        /// <summary>So many bytes; null when the other end has hung up.</summary>
        public static byte[] Read(int descriptor, int count)
        {
            var buffer = new byte[count];
            for (var have = 0; have < count;)
            {
                var got = (int)read(descriptor, ref buffer[have], (IntPtr)(count - have));
                if (got == 0) return null;
                if (got > 0) have += got;
                else if (Marshal.GetLastWin32Error() != Interrupted) return null;
            }
            return buffer;
        }

        public static void Write(int descriptor, byte[] content)
        {
            for (var sent = 0; sent < content.Length;)
            {
                var put = (int)write(descriptor, ref content[sent], (IntPtr)(content.Length - sent));
                if (put >= 0) sent += put;
                else if (Marshal.GetLastWin32Error() != Interrupted) throw new IOException("hung up");
            }
        }

        /// <summary>Number of names and size of the file behind a descriptor.</summary>
        public static void Stat(int descriptor, out uint links, out long size)
        {
            var buffer = new byte[256];
            Check(statx(descriptor, "", EmptyPath, LinksAndSize, buffer));
            links = BitConverter.ToUInt32(buffer, 16);
            size = BitConverter.ToInt64(buffer, 40);
        }

        /// <summary>What is in a file, which is emptied.</summary>
        public static byte[] Take(int descriptor, long size)
        {
            var content = new byte[size];
            if (size == 0) return content;
            var got = (int)pread(descriptor, content, (IntPtr)size, 0);
            Check(got);
            Array.Resize(ref content, got);
            Check(ftruncate(descriptor, 0));
            return content;
        }

        /// <summary>Let a descriptor be a file that is written to at its end.</summary>
        public static void Replace(int descriptor, string path)
        {
            var file = open(path, ReadWriteCreateAppend, 384);
            Check(file);
            Check(dup2(file, descriptor));
            close(file);
        }

        public static void KeepFromChildren(int descriptor)
        {
            Check(fcntl(descriptor, SetDescriptorFlags, CloseOnExec));
        }

        /// <summary>Whether there are child processes; whoever is dead is buried on the way.</summary>
        public static bool HasChildren()
        {
            int pid;
            do pid = waitpid(-1, IntPtr.Zero, WithoutWaiting);
            while (pid > 0);
            return pid == 0;
        }

        private static void Check(int result)
        {
            if (result < 0) throw new IOException("errno " + Marshal.GetLastWin32Error());
        }
    }
}
