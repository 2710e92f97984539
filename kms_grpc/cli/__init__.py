"""The command line, `kms-grpc`: the service's operations, the server, and looks into it."""
