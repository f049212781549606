// A function for Taskyard: what Handle returns is the answer to a call.
using System;
using System.Threading.Tasks;
using Taskyard;

public static class Handler
{
    public static Task<Response> Handle(Request request)
    {
        var who = request.Text == "" ? "world" : request.Text;
        Console.WriteLine($"greeting {who}");
        return Task.FromResult(Response.OfText($"Hello, {who}!"));
    }

    public static void Main()
    {
        // Connections, models: what takes long belongs here, before the first call.
        Runtime.Serve(Handle);
    }
}
