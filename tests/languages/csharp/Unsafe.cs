// What Google.Protobuf takes from System.Runtime.CompilerServices.Unsafe, which NuGet has and Debian has not (Mono's own is
// internal). Enough for the test: a moving garbage collector could break the references.
namespace System.Runtime.CompilerServices
{
    internal static unsafe class Unsafe
    {
        public static T ReadUnaligned<T>(ref byte source)
        {
            fixed (byte* at = &source)
            {
                if (typeof(T) == typeof(float)) return (T)(object)*(float*)at;
                if (typeof(T) == typeof(double)) return (T)(object)*(double*)at;
                if (typeof(T) == typeof(ulong)) return (T)(object)*(ulong*)at;
                throw new NotSupportedException(typeof(T).Name);
            }
        }

        public static void WriteUnaligned(ref byte target, float value)
        {
            fixed (byte* at = &target) *(float*)at = value;
        }

        public static void WriteUnaligned(ref byte target, double value)
        {
            fixed (byte* at = &target) *(double*)at = value;
        }

        public static void WriteUnaligned<T>(ref byte target, uint value)
        {
            fixed (byte* at = &target) *(uint*)at = value;
        }

        public static ref byte As<TFrom, TTo>(ref char source)
        {
            fixed (char* at = &source) return ref *(byte*)at;
        }

        public static ref byte Add(ref byte origin, int bytes)
        {
            fixed (byte* at = &origin) return ref at[bytes];
        }

        public static ref byte AddByteOffset(ref byte origin, IntPtr bytes)
        {
            fixed (byte* at = &origin) return ref *(at + (long)bytes);
        }

        public static ref char AddByteOffset(ref char origin, IntPtr bytes)
        {
            fixed (char* at = &origin) return ref *(char*)((byte*)at + (long)bytes);
        }
    }
}
