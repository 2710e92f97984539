"""Generated from protos/kms_grpc/v1 by `python build.py --stubs`; never edited. A test regenerates and compares."""
