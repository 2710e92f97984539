# Loads all stubs for Ruby in the current directory, writes and reads a message, and prints the services with the numbers
# of their methods.
require 'grpc'

$LOAD_PATH.unshift Dir.pwd
Dir.glob('kms_grpc/v1/*.rb').sort.each { |file| require file }

request = KmsGrpc::V1::EncryptRequest.new(
  key_id: 'alias/orders', plaintext: 'hello', encryption_context: { 'shop' => 'Größe' }
)
read = KmsGrpc::V1::EncryptRequest.decode(request.to_proto)
puts "#{read.plaintext} #{read == request ? 'equal' : 'different'}"
[KmsGrpc::V1::EnvelopeService, KmsGrpc::V1::KeyManagementService].each do |service|
  puts "#{service::Service.service_name} #{service::Service.rpc_descs.size}"
end
