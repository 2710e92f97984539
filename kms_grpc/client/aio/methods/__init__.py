"""Methods of AsyncKeyManagementClient. `python build.py --client` writes these files from kms_grpc/client/methods."""
