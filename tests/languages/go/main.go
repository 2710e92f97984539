// Calls the service with stubs from protos/, in a program that also links etcd's stubs, whose options have the numbers
// 50000 to 50003. Environment: KMS_GRPC_ENDPOINT, KMS_GRPC_TOKEN. Prints a line of JSON.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"time"

	"github.com/jhump/protoreflect/grpcreflect"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	kms "kmsclient/kms_grpc/v1"
)

type result struct {
	Plaintext string
	Reason    string
	Domain    string
	Described map[string]string
	Etcd      string
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

// Returns the reason and the domain of the ErrorInfo of a refused call.
func errorInfo(err error) (string, string) {
	for _, detail := range status.Convert(err).Details() {
		if info, is := detail.(*errdetails.ErrorInfo); is {
			return info.Reason, info.Domain
		}
	}
	return "", ""
}

// Looks symbols up by reflection, as `grpcurl describe SYMBOL` does, and returns what each of them is.
func described(ctx context.Context, connection *grpc.ClientConn, symbols ...string) map[string]string {
	client := grpcreflect.NewClientAuto(ctx, connection)
	defer client.Reset()
	kinds := map[string]string{}
	for _, symbol := range symbols {
		file, err := client.FileContainingSymbol(symbol)
		if err != nil {
			kinds[symbol] = err.Error()
		} else if found := file.FindSymbol(symbol); found != nil {
			kinds[symbol] = found.GetFullyQualifiedName()
		}
	}
	return kinds
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	connection := must(grpc.NewClient(os.Getenv("KMS_GRPC_ENDPOINT"),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy()))
	defer connection.Close()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+os.Getenv("KMS_GRPC_TOKEN"))

	service := kms.NewKeyManagementServiceClient(connection)
	key := must(service.CreateKey(ctx, &kms.CreateKeyRequest{Description: "orders"})).KeyMetadata
	sealed := must(service.Encrypt(ctx, &kms.EncryptRequest{KeyId: key.KeyId, Plaintext: []byte("hello")}))
	opened := must(service.Decrypt(ctx, &kms.DecryptRequest{CiphertextBlob: sealed.CiphertextBlob}))

	items := []*kms.DecryptBatchItem{{CiphertextBlob: []byte("changed")}}
	batch := must(kms.NewEnvelopeServiceClient(connection).DecryptBatch(ctx, &kms.DecryptBatchRequest{Items: items}))
	reason, domain := errorInfo(status.FromProto(batch.Results[0].Error).Err())

	_ = json.NewEncoder(os.Stdout).Encode(result{
		Plaintext: string(opened.Plaintext),
		Reason:    reason,
		Domain:    domain,
		Described: described(ctx, connection, "kms_grpc.v1.KeyManagementService.Encrypt",
			"kms_grpc.v1.EncryptRequest.plaintext", "kms_grpc.v1.KeySpec", "kms_grpc.v1.secret"),
		Etcd: string((&etcdserverpb.RangeRequest{}).ProtoReflect().Descriptor().FullName()),
	})
}
