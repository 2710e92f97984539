// Makes the stubs. Environment: PROTOC, PROTOS (the folder protos/), GOOGLEAPIS (the include path of google/rpc).
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folders = [std::env::var("PROTOS")?, std::env::var("GOOGLEAPIS")?];
    let protos = ["kms_grpc/v1/key_management.proto", "kms_grpc/v1/envelope.proto", "google/rpc/status.proto"];
    tonic_prost_build::configure().build_transport(false).compile_protos(
        &protos.map(String::from),
        &folders,
    )?;
    Ok(())
}
