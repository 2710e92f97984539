"""The registry's migrations, run by kms_grpc.registry.migrate."""
