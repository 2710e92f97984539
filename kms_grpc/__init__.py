"""A key management service that behaves like AWS KMS and is called by gRPC."""
