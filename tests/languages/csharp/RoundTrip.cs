// Writes and reads a message by the stubs for C#, and prints the services with the numbers of their methods.
using System;
using Google.Protobuf;
using KmsGrpc.V1;

static class RoundTrip
{
    static void Main()
    {
        var request = new EncryptRequest { KeyId = "alias/orders", Plaintext = ByteString.CopyFromUtf8("hello") };
        request.EncryptionContext.Add("shop", "Größe");
        var read = EncryptRequest.Parser.ParseFrom(request.ToByteArray());
        Console.WriteLine("{0} {1}", read.Plaintext.ToStringUtf8(), read.Equals(request) ? "equal" : "different");
        foreach (var file in new[] { EnvelopeReflection.Descriptor, KeyManagementReflection.Descriptor })
            foreach (var service in file.Services)
                Console.WriteLine("{0} {1}", service.FullName, service.Methods.Count);
    }
}
