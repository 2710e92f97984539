// Writes and reads a message by the stubs for Java, and prints the services with the numbers of their methods.
import com.google.protobuf.ByteString;
import io.grpc.ServiceDescriptor;
import kms_grpc.v1.EncryptRequest;
import kms_grpc.v1.EnvelopeServiceGrpc;
import kms_grpc.v1.KeyManagementServiceGrpc;

final class RoundTrip {
    public static void main(String[] arguments) throws Exception {
        EncryptRequest request = EncryptRequest.newBuilder()
                .setKeyId("alias/orders")
                .setPlaintext(ByteString.copyFromUtf8("hello"))
                .putEncryptionContext("shop", "Größe")
                .build();
        EncryptRequest read = EncryptRequest.parseFrom(request.toByteArray());
        System.out.println(read.getPlaintext().toStringUtf8() + (read.equals(request) ? " equal" : " different"));
        print(EnvelopeServiceGrpc.getServiceDescriptor());
        print(KeyManagementServiceGrpc.getServiceDescriptor());
    }

    private static void print(ServiceDescriptor service) {
        System.out.println(service.getName() + " " + service.getMethods().size());
    }
}
