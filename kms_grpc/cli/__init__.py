"""The command line, `kms-grpc`: commands that call the service's operations, and that start and inspect a server."""
