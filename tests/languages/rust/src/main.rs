// Compiles the stubs for client and server, and prints the size of a request.
pub mod kms_grpc {
    pub mod v1 {
        tonic::include_proto!("kms_grpc.v1");
    }
}

pub mod google {
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}

use kms_grpc::v1::{key_management_service_client::KeyManagementServiceClient, EncryptRequest};
use prost::Message;

pub type Client<T> = KeyManagementServiceClient<T>;

fn main() {
    let request = EncryptRequest { key_id: "alias/orders".into(), plaintext: Some(b"hello".to_vec()), ..Default::default() };
    println!("{}", request.encoded_len());
}
