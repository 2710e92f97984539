"""A key management service that behaves like AWS KMS and is reached by gRPC."""
